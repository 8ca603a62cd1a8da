/* Lists an archive's tensors and prints the first 8 values of tensor NAME:
 *     cc read_tensor.c $(pkg-config --cflags --libs qins) -o read_tensor
 *     ./read_tensor model.qins NAME */
#include <qins/qins.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    qins_archive *archive = NULL;
    struct qins_error err = {0};
    struct qins_tensor_info info = {0};
    float values[8];
    char line[1024];

    if (argc != 3 || qins_open(&archive, argv[1], &err) != QINS_OK)
        goto failed;
    for (size_t i = 0; i < qins_tensor_count(archive); i++) {
        if (qins_tensor(archive, i, &info, &err) != QINS_OK)
            goto failed;
        printf("%s %s %s\n", info.name, qins_dtype_name(info.source_dtype), info.codec);
    }
    size_t index = qins_find(archive, argv[2]);
    if (qins_tensor(archive, index, &info, &err) != QINS_OK || info.dtype != QINS_F32)
        goto failed;
    uint64_t count = info.n_elements < 8 ? info.n_elements : 8;
    if (qins_read(archive, index, 0, count, values, sizeof(values), &err) != QINS_OK)
        goto failed;
    for (uint64_t i = 0; i < count; i++)
        printf("%.9g\n", values[i]);
    qins_close(archive);
    return 0;
failed:
    fprintf(stderr, "read_tensor ARCHIVE NAME: %s\n", qins_error_format(&err, line, sizeof(line)));
    qins_close(archive);
    return 1;
}
