# Touches a token by rank. Blocks: 0 rows of the embedding, 1 experts, 2 tensors. Columns: rank,
# touches; hot and cold: the thresholds.
height = 450
load "style.gp"
set logscale xy
set format y "%g"
set xlabel "rank, most used first"
set ylabel "touches a token"
set key outside top left horizontal maxcols 2
set yrange [*:2]
plot data index 0 using 1:2 with steps linewidth 2 linecolor rgb blue title "rows of the embedding", \
     data index 1 using 1:2 with linespoints pointtype 5 pointsize 0.7 linewidth 1.5 linecolor rgb red title "experts", \
     data index 2 using 1:2 with linespoints pointtype 7 pointsize 0.5 linewidth 1.5 linecolor rgb green title "tensors", \
     (hot) with lines dashtype 2 linewidth 2 linecolor rgb orange title "hot from here up", \
     (cold) with lines dashtype 2 linewidth 2 linecolor rgb sky title "cold from here down"
set output
