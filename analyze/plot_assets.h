/* Files of analyze/assets, built in (tools/embed.py), NUL-terminated. */
#ifndef QINS_ANALYZE_PLOT_ASSETS_H
#define QINS_ANALYZE_PLOT_ASSETS_H

extern const char qn_asset_style_gp[], qn_asset_int_vs_qins_gp[], qn_asset_rate_distortion_gp[],
    qn_asset_entropy_by_layer_gp[], qn_asset_entropy_by_kind_gp[], qn_asset_coded_size_gp[],
    qn_asset_access_map_gp[], qn_asset_access_frequency_gp[], qn_asset_waterfall_gp[],
    qn_asset_tensor_gp[], qn_asset_transport_error_gp[], qn_asset_transport_layers_gp[],
    qn_asset_transport_decodes_gp[], qn_asset_transport_map_gp[], qn_asset_kv_layers_gp[],
    qn_asset_page_css[], qn_asset_page_js[], qn_asset_review_generation_gp[],
    qn_asset_review_context_gp[], qn_asset_review_layers_gp[], qn_asset_review_kl_gp[],
    qn_asset_review_top_k_gp[], qn_asset_review_perplexity_gp[], qn_asset_review_trade_off_gp[],
    qn_asset_review_history_gp[], qn_asset_review_css[], qn_asset_bench_coders_gp[];

/* The plots of a whole model; those of tensors are "tensor-" and a number,
 * those of a transport begin with "transport-", those of a review with "review-". */
enum { QN_PLOT_NAMES = 8 };
extern const char *const qn_plot_names[QN_PLOT_NAMES];

#endif
