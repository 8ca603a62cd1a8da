// Compares our ids with those of three JavaScript packages that share no code with us:
// @huggingface/tokenizers reads the same tokenizer.json; llama-tokenizer-js and
// llama3-tokenizer-js bring the real vocabularies of Llama 2 and Llama 3, from which tokenizer.json
// files are made in a temporary folder. By hand only; see README.md.
//
//   node tokenizers.mjs PACKAGES TOKENIZE_TOOL TEXT [TOKENIZER_JSON...]
import {spawnSync} from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [packages, tool, text, ...files] = process.argv.slice(2);
if (!text) {
    console.error("usage: tokenizers.mjs PACKAGES TOKENIZE_TOOL TEXT [TOKENIZER_JSON...]");
    process.exit(2);
}

const load = (file) => import(pathToFileURL(path.resolve(packages, "node_modules", file)));
const {Tokenizer} = await load("@huggingface/tokenizers/dist/tokenizers.mjs");
const {default: llama2} = await load("llama-tokenizer-js/llama-tokenizer.js");
const {default: llama3} =
    await load("llama3-tokenizer-js/bundle/llama3-tokenizer-with-baked-data.js");

// A reproducible stream (mulberry32).
let state = 20261121;
function random(n) {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
}

const odd = [
    " ", "  ", "   ", "        ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000",
    "\u200b", "\u200d", "\u180e", "the", "The", " quick", "don't", "DON'T", "we'll", "I'VE", "'s", "'S", "'",
    "it's", "naïve", "cafe\u0301", "Ångström", "ﬁne", "straße", "İstanbul", "0", "1", "12", "123",
    "1234", "12345678901", "3.14159", "1,000,000", "½", "²", "Ⅷ", "٣٤٥", "१२३", "日本語", "中文字符", "한국어",
    "Привет", "Ελληνικά", "עברית", "العربية", "हिन्दी", "ไทย", "😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "\u{1f9d1}\u200d\u{1f4bb}",
    "\u{10ffff}", "\u{e000}", "\ufffd", "x", "y_z", "__init__", "int main(void) {", "}", "for (i = 0; i < n; i++)",
    "    return x;", "a->b", "&&", "||", "!=", "===", "//", "/* c */", "#include <stdio.h>", "\\n", "%s",
    "https://example.org/a?b=c&d=%20", "a@b.c", "$x", "€5", "…", "—", "“q”", "<b>", "</b>", "``", "~~",
    ".", ",", "...", "!!!", "?!", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ABC", "camelCaseWord",
    "SCREAMING_SNAKE", "\u0301", "e\u0301\u0323", "\u1e9b\u0323", "ＦＵＬＬ", "①", "℃", "",
];
// Only a reader of tokenizer.json knows them in text.
const special_pieces = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>",
                        "<|eot_id", "<0x41>", "▁"];

function make_up(pieces) {
    const made = [];
    for (let i = 0; i < 3000; i++) {
        let line = "";
        for (let n = 1 + random(12); n > 0; n--)
            line += pieces[random(pieces.length)] + (random(3) === 0 ? " " : "");
        if (line.length > 0)
            made.push(line);
    }
    return made;
}

function ours(verb, file, texts) {
    const done = spawnSync(tool, [verb, file],
                           {input: texts.join("\0") + "\0", maxBuffer: 1 << 30});
    if (done.status !== 0)
        throw new Error(`${verb} ${file}: ${done.stderr}`);
    return done.stdout.toString().split("\n").slice(0, -1)
        .map((l) => (l ? l.split(" ").map(Number) : []));
}

// Texts of lines of ids; with special tokens.
function decoded(file, ids) {
    const done = spawnSync(tool, ["decode-all", file],
                           {input: ids.map((l) => l.join(" ") + "\n").join(""), maxBuffer: 1 << 30});
    if (done.status !== 0)
        throw new Error(`decode ${file}: ${done.stderr}`);
    return done.stdout.toString().split("\0").slice(0, -1);
}

let failed = false;
function compare_decoding(name, file, peer, texts) {
    const ids = ours("encode", file, texts).filter((l) => l.length > 0);
    const got = decoded(file, ids);
    const options = {skip_special_tokens: false, clean_up_tokenization_spaces: false};
    const bad = ids.filter((l, i) => peer.decode(l, options) !== got[i]);
    bad.slice(0, 5).forEach((l) => console.log(`  ${l}\n    peer ${
        JSON.stringify(peer.decode(l, options))}\n    ours ${JSON.stringify(decoded(file, [l])[0])}`));
    failed ||= bad.length > 0;
    console.log(`${name}, decoding: ${ids.length} lines, ${bad.length} lines differ`);
}

function compare(name, file, verb, encode, texts) {
    const got = ours(verb, file, texts);
    if (got.length !== texts.length)
        throw new Error(`${name}: ${got.length} lines for ${texts.length}`);
    let different = 0, tokens = 0;
    texts.forEach((t, i) => {
        const wanted = Array.from(encode(t));
        tokens += wanted.length;
        if (wanted.join(" ") === got[i].join(" "))
            return;
        if (different++ < 5)
            console.log(`  ${JSON.stringify(t)}\n    peer ${wanted}\n    ours ${got[i]}`);
    });
    failed ||= different > 0;
    console.log(`${name}: ${texts.length} lines, ${tokens} ids, ${different} lines differ`);
}

// Token texts of each merge, the first to go first.
function merges(tokenizer) {
    return [...tokenizer.merges.entries()].sort((a, b) => a[1] - b[1]).map(([k]) => k);
}

function vocabulary(tokens) {
    const v = {};
    tokens.forEach((t, i) => (v[t] = i));
    return v;
}

function template(token, id) {
    const start = {SpecialToken: {id: token, type_id: 0}};
    return {type: "TemplateProcessing", single: [start, {Sequence: {id: "A", type_id: 0}}],
            pair: [], special_tokens: {[token]: {id: token, ids: [id], tokens: [token]}}};
}

function special(token, id) {
    return {id, content: token, single_word: false, lstrip: false, rstrip: false,
            normalized: false, special: true};
}

function llama2_json() {
    const replace = (a, b) => ({type: "Replace", pattern: {String: a}, content: b});
    return {
        version: "1.0", truncation: null, padding: null,
        added_tokens: ["<unk>", "<s>", "</s>"].map(special),
        normalizer: {type: "Sequence", normalizers: [{type: "Prepend", prepend: "▁"}, replace(" ", "▁")]},
        pre_tokenizer: null, post_processor: template("<s>", 1),
        decoder: {type: "Sequence", decoders: [replace("▁", " "), {type: "ByteFallback"}, {type: "Fuse"},
                                               {type: "Strip", content: " ", start: 1, stop: 0}]},
        model: {type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null,
                end_of_word_suffix: null, fuse_unk: true, byte_fallback: true,
                vocab: vocabulary(llama2.vocabById), merges: merges(llama2)},
    };
}

function llama3_json() {
    const first_special = 128000;
    const regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" +
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    const level = {type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false};
    return {
        version: "1.0", truncation: null, padding: null,
        added_tokens: llama3.vocabById.slice(first_special)
            .map((t, i) => special(t, first_special + i)),
        normalizer: null,
        pre_tokenizer: {type: "Sequence", pretokenizers: [
            {type: "Split", pattern: {Regex: regex}, behavior: "Isolated", invert: false}, level]},
        post_processor: {type: "Sequence", processors: [
            {...level, use_regex: true}, template("<|begin_of_text|>", first_special)]},
        decoder: {...level, use_regex: true},
        model: {type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null,
                end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: true,
                vocab: vocabulary(llama3.vocabById.slice(0, first_special)), merges: merges(llama3)},
    };
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "qins-peers-"));
try {
    const write = (name, value) => {
        const file = path.join(folder, name);
        fs.writeFileSync(file, JSON.stringify(value));
        return file;
    };
    const l2 = write("llama2.json", llama2_json()), l3 = write("llama3.json", llama3_json());
    const real = fs.readFileSync(text, "utf8").split("\n").filter((l) => l.length > 0);
    const kinds = {"text": real, "made-up": make_up(odd), "special": make_up([...odd, ...special_pieces])};
    for (const [kind, texts] of Object.entries(kinds)) {
        for (const file of [...files, l2, l3]) {
            const peer = new Tokenizer(JSON.parse(fs.readFileSync(file, "utf8")), {});
            const name = `${path.basename(path.dirname(file))}/${path.basename(file)}, ` +
                `@huggingface/tokenizers, ${kind}`;
            compare(name, file, "encode-special", (t) => peer.encode(t).ids, texts);
            compare_decoding(name, file, peer, texts);
        }
        if (kind === "special")
            continue;
        compare(`Llama 2, llama-tokenizer-js, ${kind}`, l2, "encode-special",
                (t) => llama2.encode(t), texts);
        compare(`Llama 3, llama3-tokenizer-js, ${kind}`, l3, "encode-special",
                (t) => llama3.encode(t, {bos: true, eos: false}), texts);
    }
    if (process.env.KEEP)
        fs.cpSync(folder, process.env.KEEP, {recursive: true});
} finally {
    fs.rmSync(folder, {recursive: true});
}
process.exit(failed ? 1 : 0);
