# Error of each native layer: name, as chosen, decoded before the product, clipped uniform grid.
# rows: how many; bits: of a code.
height = 150 + 24 * rows
load "style.gp"
set xlabel "mean |difference| / mean |output|"
set yrange [rows - 0.4:-0.6]
set xrange [0:*]
set offsets 0, graph 0.03, 0, 0
set format x "%g"
set key outside top left horizontal maxcols 3
plot data using (0):0:(0):2:($0-0.3):($0+0.3):ytic(1) with boxxyerror fillstyle solid 0.75 linecolor rgb sky title "native, as chosen", \
     data using 3:0 with points pointtype 7 pointsize 0.8 linecolor rgb ink title "decoded before", \
     data using 4:0 with points pointtype 5 pointsize 0.8 linecolor rgb red title sprintf("INT%d, best clip", bits)
set output
