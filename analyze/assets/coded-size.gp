# Bits a weight by coder for each kind of tensor, whose name stands in the first column; the
# coders' names stand on top. columns: how many coders; rows: how many kinds.
height = 150 + 26 * rows
load "style.gp"
set xlabel "bits a weight, 8-bit QINS codes"
set yrange [rows - 0.4:-0.6]
set offsets 0.02, 0.02, 0, 0
set ytics font ",13"
set key outside top left horizontal maxcols 2
plot for [i=1:columns] data using i+1:0:ytic(1) with points pointtype marks[(i-1)%8+1] pointsize 1.5-0.12*i linewidth 1.5 linecolor rgb series[(i-1)%8+1] title columnheader(i+1) noenhanced
set output
