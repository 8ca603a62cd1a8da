# Bits a value of V pages by layer: layer, coded, entropy, entropy given the token before, entropy of
# the weights that make V. bits: of a code; last: the largest layer; least: of all; weights: any.
height = 430
load "style.gp"
set xlabel "layer"
set ylabel "bits a value"
set key outside top left horizontal maxcols 2
set xrange [-0.3:last + 0.3]
set yrange [floor(4 * (least - 0.1)) / 4.0:*]
set offsets 0, 0, graph 0.04, 0
set xtics 0, (last < 16 ? 1 : last < 64 ? 4 : 10)
plot bits with lines dashtype 2 linewidth 1.6 linecolor rgb soft title "a packed code", \
     data using 1:2 with linespoints pointtype marks[2] pointsize 0.9 linewidth 1.8 linecolor rgb red title "old pages, coded, with scales", \
     data using 1:3 with linespoints pointtype marks[1] pointsize 0.9 linewidth 1.8 linecolor rgb blue title "entropy of V codes", \
     data using 1:4 with linespoints pointtype marks[3] pointsize 0.9 linewidth 1.8 linecolor rgb green title "given the token before", \
     data using 1:(weights ? $5 : NaN) with linespoints pointtype marks[4] pointsize 0.9 linewidth 1.8 linecolor rgb orange title (weights ? "entropy of its weights' codes" : "")
set output
