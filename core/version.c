#include "qins/qins.h"

const char *qins_version(void)
{
    return QINS_VERSION;
}
