#include "cli/cli.h"

#include "core/linalg.h"
#include "model/fused.h"
#include "model/generate.h"
#include "model/kv_report.h"
#include "model/native.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_TOKENS = 128, MOST_TOKENS = 1 << 30 };
static const double MOST_TEMPERATURE = 1e6, LEAST_TOP_P = 1e-9;

struct generating {
    struct cli *c;
    struct qn_model *model;
    struct qn_tokenizer *tokenizer;
    struct qn_pool *pool;
    struct qn_session *session;
    struct qn_kv_options kv; /* bits 0: a plain V cache */
    struct qn_generate_options options;
    size_t wanted; /* what --tokens says; options.max_tokens may be less */
    struct qn_ids prompt;
    struct qn_buf prompt_text, text; /* what was made of it, valid UTF-8 */
    size_t shown;                    /* tokens, of prompt and continuation */
    struct qn_generated out;
};

/* Prints TEXT but for control characters, which show as \xNN: a model may say anything, and a
 * terminal would obey. Line ends and tabs stay, and so do joiners and marks of direction: they
 * belong to the writing of many languages. */
static void print_text(const char *text, size_t size)
{
    enum { LONGEST_CONTROL = 2 }; /* bytes; those of C1 */
    for (size_t at = 0; at < size;) {
        char piece[5] = {text[at]};
        size_t n = 1;
        while (at + n < size && n < 4 && ((unsigned char)text[at + n] & 0xc0) == 0x80) {
            piece[n] = text[at + n];
            n++;
        }
        bool plain = piece[0] == '\n' || piece[0] == '\t' ||
                     (piece[0] && (qn_text_unsafe(piece) == 0 || n > LONGEST_CONTROL));
        if (plain)
            cli_print("%s", piece);
        for (size_t i = 0; i < n && !plain; i++)
            cli_print("\\x%02x", (unsigned char)piece[i]);
        at += n;
    }
}

static enum qins_status take_token(void *ctx, uint32_t id, const char *text, size_t size,
                                   struct qins_error *err)
{
    struct generating *g = ctx;
    size_t index = g->shown++;
    if (g->c->json)
        return qn_buf_append(index < g->prompt.count ? &g->prompt_text : &g->text, text, size, err);
    if (g->tokenizer)
        print_text(text, size);
    else if (id != UINT32_MAX)
        cli_print(index > 0 ? " %u" : "%u", id);
    return cli_flush(err);
}

/* Options that choose among likely tokens, where only the likeliest is taken. */
static enum qins_status refuse_sampling(const struct cli *c, struct qins_error *err)
{
    static const enum cli_option_id sampling[] = {OPT_TOP_K, OPT_TOP_P, OPT_SEED};
    for (size_t i = 0; i < sizeof sampling / sizeof *sampling; i++)
        if (c->value[sampling[i]])
            return qn_fail(err, QINS_ERR_USAGE,
                           "'--%s' has no effect without a '--temperature' above 0",
                           cli_option_name(sampling[i]));
    return QINS_OK;
}

static enum qins_status read_options(struct generating *g, struct qins_error *err)
{
    const struct cli *c = g->c;
    struct qn_sample_options *s = &g->options.sample;
    unsigned tokens = DEFAULT_TOKENS;
    *s = (struct qn_sample_options){.top_p = 1.0};
    if (!c->value[OPT_PROMPT] && !c->value[OPT_IDS])
        return qn_fail(err, QINS_ERR_USAGE, "'--prompt' or '--ids' is missing");
    if (c->value[OPT_PROMPT] && c->value[OPT_IDS])
        return qn_fail(err, QINS_ERR_USAGE, "'--prompt' and '--ids' exclude each other");
    if (c->value[OPT_FUSED] && c->value[OPT_TRANSPORT])
        return qn_fail(err, QINS_ERR_USAGE, "'--fused' and '--transport' exclude each other");
    enum qins_status st = cli_unsigned(c, OPT_TOKENS, 1, MOST_TOKENS, &tokens, err);
    if (st == QINS_OK)
        st = cli_real(c, OPT_TEMPERATURE, 0.0, MOST_TEMPERATURE, &s->temperature, err);
    if (st == QINS_OK)
        st = cli_unsigned(c, OPT_TOP_K, 1, UINT32_MAX, &s->top_k, err);
    if (st == QINS_OK)
        st = cli_real(c, OPT_TOP_P, LEAST_TOP_P, 1.0, &s->top_p, err);
    if (st == QINS_OK)
        st = cli_u64(c, OPT_SEED, UINT64_MAX, &s->seed, err);
    if (st == QINS_OK)
        st = cli_kv_bits(c, &g->kv.bits, err);
    if (st == QINS_OK && s->temperature <= 0.0)
        st = refuse_sampling(c, err);
    g->wanted = tokens;
    return st;
}

/* With ids given, a model without a tokenizer that we can read speaks in ids. */
static enum qins_status read_prompt(struct generating *g, struct qins_error *err)
{
    const char *const *value = g->c->value, *text = value[OPT_PROMPT];
    uint32_t vocab = g->model->config.vocab, context = g->model->config.max_positions;
    enum qins_status st =
        qn_tokenizer_open(&g->tokenizer, value[OPT_TOKENIZER], &g->model->files, vocab, err);
    if (st == QINS_ERR_UNSUPPORTED && value[OPT_IDS] && !value[OPT_TOKENIZER])
        st = QINS_OK;
    st = qn_error_in_file(err, st, g->model->path);
    if (st == QINS_OK && text)
        st = qn_tokenizer_encode(g->tokenizer, text, strlen(text), QN_ENCODE_TEMPLATE, &g->prompt,
                                 err);
    else if (st == QINS_OK)
        st = qn_ids_load(&g->prompt, value[OPT_IDS], vocab, err);
    if (st != QINS_OK)
        return st;
    if (g->prompt.count == 0)
        return qn_fail(err, QINS_ERR_USAGE, "the prompt has no tokens");
    if (g->prompt.count >= context)
        return qn_fail(err, QINS_ERR_USAGE,
                       "the prompt has %zu tokens and leaves no room in the model's context of %u",
                       g->prompt.count, context);
    g->options.tokenizer = g->tokenizer;
    g->options.max_tokens = context - g->prompt.count;
    if (g->options.max_tokens > g->wanted)
        g->options.max_tokens = g->wanted;
    return QINS_OK;
}

static enum qins_status open_model(struct generating *g, struct qins_error *err)
{
    const struct cli *c = g->c;
    const char *file = c->value[OPT_TRANSPORT];
    const bool fused = c->value[OPT_FUSED] != NULL;
    struct qn_transport t = {0};
    enum qins_status st = file ? qn_transport_read(&t, file, &c->monitor, err) : QINS_OK;
    if (st == QINS_OK && fused)
        st = qn_model_open_fused(&g->model, c->operand[0], c->threads, &c->monitor, err);
    else if (st == QINS_OK)
        st = (file ? qn_model_open_plain : qn_model_open)(&g->model, c->operand[0], c->threads,
                                                          &c->monitor, err);
    if (st == QINS_OK && file)
        st = qn_model_go_native(g->model, &t, file, err);
    qn_transport_finish(&t);
    return st;
}

static enum qins_status generate(struct generating *g, struct qins_error *err)
{
    struct qn_session_options o = {.positions = g->prompt.count + g->options.max_tokens,
                                   .kv = &g->kv};
    enum qins_status st = qn_linalg_init(err); /* before there are threads */
    if (st == QINS_OK)
        st = qn_pool_create(&g->pool, g->c->threads, err);
    o.pool = g->pool;
    if (st == QINS_OK)
        st = qn_session_create(&g->session, g->model, &o, err);
    if (st == QINS_OK)
        st = qn_generate(g->session, g->model, g->prompt.data, g->prompt.count, &g->options,
                         &g->out, err);
    if (g->shown > 0 && !g->c->json)
        cli_print("\n");
    return st;
}

static double prefill_rate(const struct generating *g)
{
    return (double)g->prompt.count / g->out.prefill_seconds;
}

static double decode_rate(const struct generating *g)
{
    return g->out.decoded > 0 ? (double)g->out.decoded / g->out.decode_seconds : NAN;
}

static bool context_is_full(const struct generating *g)
{
    return !g->out.ended && g->out.ids.count < g->wanted;
}

static void print_rates(const struct generating *g)
{
    if (context_is_full(g))
        fprintf(stderr, "the model's context of %u tokens is full\n",
                g->model->config.max_positions);
    fprintf(stderr, "prefill: %zu token%s, %.1f tokens/s", g->prompt.count,
            g->prompt.count == 1 ? "" : "s", prefill_rate(g));
    if (g->out.decoded > 0)
        fprintf(stderr, "; decode: %zu token%s, %.1f tokens/s", g->out.ids.count,
                g->out.ids.count == 1 ? "" : "s", decode_rate(g));
    fputc('\n', stderr);
}

/* What weights take that stay coded. */
static void print_fused(const struct qn_model *m)
{
    char bytes[32];
    if (m->fused.on)
        fprintf(stderr,
                "weights: %s in memory, %" PRIu64 " of %" PRIu64 " matrices as they are coded\n",
                cli_bytes((double)m->weight_bytes, bytes, sizeof bytes), m->fused.matrices,
                m->fused.matrices + m->fused.decoded);
}

/* What V of the sequence takes, beside float16. */
static void print_kv(const struct generating *g)
{
    struct qn_kv_counts c;
    if (g->kv.bits == 0)
        return;
    qn_session_kv_counts(g->session, &c);
    fprintf(stderr,
            "V cache: %u bits, %" PRIu64 " coded pages; %" PRIu64 " bytes held, as float16 %" PRIu64
            "\n",
            g->kv.bits, c.packed_pages, c.held_bytes, c.f16_bytes);
}

static json_t *kv_json(const struct generating *g)
{
    struct qn_kv_counts c;
    qn_session_kv_counts(g->session, &c);
    return qn_kv_report(&g->model->config, &g->kv, &c);
}

static json_t *ids_json(const struct qn_ids *ids)
{
    json_t *j = json_array();
    for (size_t i = 0; i < ids->count; i++)
        if (json_array_append_new(j, json_integer(ids->data[i])) != 0) {
            json_decref(j);
            return NULL;
        }
    return j;
}

static json_t *text_json(const struct generating *g, const struct qn_buf *text)
{
    return g->tokenizer
               ? json_stringn((const char *)(text->size ? text->data : (uint8_t *)""), text->size)
               : json_null();
}

static enum qins_status make_report(const struct generating *g, struct qins_error *err)
{
    const struct qn_sample_options *s = &g->options.sample;
    const char *stop = g->out.ended ? "eos" : context_is_full(g) ? "context" : "tokens";
    char seed[24];
    json_t *j = qn_report_begin("qins/generate/1");
    snprintf(seed, sizeof seed, "%" PRIu64, s->seed);
    qn_json_put(&j, "model", qn_json_text(g->model->path));
    qn_json_put(&j, "fingerprint", qn_json_digest(&g->model->fingerprint));
    if (g->c->value[OPT_TRANSPORT])
        qn_json_put(&j, "transport", qn_json_text(g->c->value[OPT_TRANSPORT]));
    if (g->model->native)
        qn_json_put(&j, "native", json_true());
    qn_fused_report(&j, g->model);
    if (g->kv.bits != 0)
        qn_json_put(&j, "kv_cache", kv_json(g));
    qn_json_put(&j, "temperature", qn_json_real(s->temperature));
    qn_json_put(&j, "top_k", s->top_k ? json_integer(s->top_k) : json_null());
    qn_json_put(&j, "top_p", qn_json_real(s->top_p));
    qn_json_put(&j, "seed", json_string(seed)); /* 64 bits are more than JSON's numbers hold */
    qn_json_put(&j, "prompt", text_json(g, &g->prompt_text));
    qn_json_put(&j, "prompt_ids", ids_json(&g->prompt));
    qn_json_put(&j, "text", text_json(g, &g->text));
    qn_json_put(&j, "ids", ids_json(&g->out.ids));
    qn_json_put(&j, "stop", json_string(stop));
    qn_json_put(&j, "prefill_tokens_per_s", qn_json_real(prefill_rate(g)));
    qn_json_put(&j, "decode_tokens_per_s", qn_json_real(decode_rate(g)));
    g->c->report = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

static void finish(struct generating *g)
{
    qn_generated_finish(&g->out);
    qn_buf_finish(&g->text);
    qn_buf_finish(&g->prompt_text);
    qn_ids_finish(&g->prompt);
    qn_session_destroy(g->session);
    qn_pool_destroy(g->pool);
    qn_tokenizer_destroy(g->tokenizer);
    qn_model_destroy(g->model);
}

static enum qins_status run(struct cli *c, struct qins_error *err)
{
    struct generating g = {.c = c};
    g.options =
        (struct qn_generate_options){.token = take_token, .ctx = &g, .monitor = &c->monitor};
    enum qins_status st = read_options(&g, err);
    if (st == QINS_OK)
        st = open_model(&g, err);
    if (st == QINS_OK)
        st = read_prompt(&g, err);
    if (st == QINS_OK)
        st = generate(&g, err);
    if (st == QINS_OK && c->json)
        st = make_report(&g, err);
    else if (st == QINS_OK && !c->quiet) {
        print_rates(&g);
        print_fused(g.model);
        print_kv(&g);
    }
    finish(&g);
    return st;
}

const struct cli_verb cli_generate = {
    .name = "generate",
    .summary = "Continues a text with a model or an archive of one.",
    .usage = "generate MODEL --prompt TEXT [options]",
    .example = "qins generate model/ --prompt 'In the beginning' --tokens 64",
    .options = {OPT_PROMPT, OPT_TOKENS, OPT_TEMPERATURE, OPT_TOP_K, OPT_TOP_P, OPT_SEED,
                OPT_TOKENIZER, OPT_IDS, OPT_TRANSPORT, OPT_FUSED, OPT_KV_CACHE},
    .help = {{OPT_TOKENS, "how many tokens at most (default 128)"},
             {OPT_TRANSPORT, "run natively as FILE says, whatever MODEL carries"}},
    .n_operands = 1,
    .run = run,
};
