# Bits a weight by coder for each kind of tensor, whose name stands in the first column; the
# coders' names stand on top. columns: how many coders; rows: how many kinds.
width = 760
height = 150 + 18 * rows * (columns + 1)
load "style.gp"
set lmargin 24
set xlabel "bits a weight, 8-bit QINS codes"
set xrange [0:*]
set yrange [rows - 0.4:-0.6]
set key outside bottom center horizontal samplen 1
set grid noytics xtics
step = 0.8 / columns
plot for [i=1:columns] data using (0):($0 - 0.4 + step * (i - 0.5)):(0):(column(i+1)):($0 - 0.4 + step * (i - 1)):($0 - 0.4 + step * (i - 0.1)):ytic(1) with boxxyerror fillstyle solid 0.9 linecolor rgb series[(i-1)%8+1] title columnheader(i+1) noenhanced
set output
