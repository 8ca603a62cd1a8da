# Entropy of a weight's code by layer, a column for each kind of tensor, whose name stands on top.
# The last row is of what has no layer. columns: how many kinds; last: the largest layer.
height = 460
load "style.gp"
set xlabel "layer"
set ylabel "entropy of an 8-bit QINS code, bits"
set key outside top left horizontal maxcols 3
set xrange [-0.3:last + 0.3]
set yrange [*:8]
set xtics 0, (last < 16 ? 1 : last < 64 ? 4 : 10)
plot for [i=2:columns+1] data using 1:i with linespoints pointtype marks[(i-2)%8+1] pointsize 0.8 linewidth 1.6 linecolor rgb series[(i-2)%8+1] title columnheader(i) noenhanced
set output
