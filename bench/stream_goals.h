/* What the project wants of its coder of cold weights on the streams, beside what was measured. */
#ifndef QINS_BENCH_STREAM_GOALS_H
#define QINS_BENCH_STREAM_GOALS_H

#include <jansson.h>

/* The goals of the streams and CPU levels that are in STREAMS, as bench.schema.json has both,
 * judged where each has so many SYMBOLS as they were set for. NULL without memory. */
json_t *qn_stream_goals(const json_t *streams, size_t symbols);

#endif
