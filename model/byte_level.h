/* GPT-2's printable stand-ins for bytes (openai/gpt-2, src/encoder.py, bytes_to_unicode): bytes
 * that print stand for themselves, the others for characters from U+0100 on, in order. */
#ifndef QINS_MODEL_BYTE_LEVEL_H
#define QINS_MODEL_BYTE_LEVEL_H

#include <stddef.h>
#include <stdint.h>

/* Writes the stand-in of BYTE; returns its size, 1 or 2. */
size_t qn_byte_level_put(uint8_t byte, uint8_t out[4]);
/* The byte that CODE stands for, or -1. */
int qn_byte_level_get(uint32_t code);

#endif
