# Entropy of a code for each kind of tensor: name, mean, least, largest. rows: how many.
height = 110 + 26 * rows
load "style.gp"
set xlabel "entropy of an 8-bit QINS code, bits"
set yrange [rows - 0.4:-0.6]
set offsets 0.02, 0.02, 0, 0
unset key
plot data using 2:0:3:4:ytic(1) with xerrorbars pointtype 7 pointsize 0.9 linewidth 2 linecolor rgb blue
set output
