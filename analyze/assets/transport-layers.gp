# Error of each native layer, shares: name, as chosen, decoded before the product, clipped uniform grid.
# rows: how many; bits: of a code; bar: the most that is allowed, or 0.
height = 150 + 24 * rows
load "style.gp"
set xlabel "mean |difference| / mean |output|, %"
set yrange [rows - 0.4:-0.6]
set xrange [0:*]
set offsets 0, graph 0.03, 0, 0
set format x "%g"
set key outside top left horizontal maxcols 3
if (bar > 0) set arrow 1 from 100 * bar, graph 0 to 100 * bar, graph 1 nohead front dashtype 4 linewidth 1.8 linecolor rgb red
plot data using (0):0:(0):(100*$2):($0-0.3):($0+0.3):ytic(1) with boxxyerror fillstyle solid 0.75 linecolor rgb sky title "native, as chosen", \
     data using (100*$3):0 with points pointtype 7 pointsize 0.8 linecolor rgb ink title "decoded before", \
     data using (100*$4):0 with points pointtype 5 pointsize 0.8 linecolor rgb orange title sprintf("INT%d, best clip", bits), \
     (bar > 0 ? NaN : NaN) with lines dashtype 4 linewidth 1.8 linecolor rgb red title (bar > 0 ? sprintf("bar, %g %%", 100 * bar) : "")
set output
