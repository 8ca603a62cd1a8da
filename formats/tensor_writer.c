#include "formats/tensor_writer.h"

#include "core/file.h"

const struct qn_tensor_writer_ops *qn_tensor_writer_for(const char *path)
{
    static const struct {
        const char *suffix;
        const struct qn_tensor_writer_ops *ops;
    } endings[] = {
        {".safetensors", &qn_safetensors_writer_ops},
        {".gguf", &qn_gguf_writer_ops},
        {".h5", &qn_hdf5_writer_ops},
        {".hdf5", &qn_hdf5_writer_ops},
    };
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (qn_has_suffix(path, endings[i].suffix))
            return endings[i].ops;
    return NULL;
}
