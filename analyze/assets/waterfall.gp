# Sizes from FP32 to the archive: label, bytes, label of the size, colour. rows: how many; largest: bytes.
height = 90 + 44 * rows
load "style.gp"
set border 0
unset grid
unset key
set xrange [0:largest * 1.9]
set ytics font ",13"
set yrange [rows - 0.4:-0.6]
set tics scale 0
unset xtics
plot data using (0):0:(0):2:($0-0.33):($0+0.33):(int($4)):ytic(1) with boxxyerror linecolor rgb variable, \
     data using 2:0:3 with labels noenhanced left offset 0.8,0 textcolor rgb ink font ",13"
set output
