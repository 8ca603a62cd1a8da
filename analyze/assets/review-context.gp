# Equal likeliest tokens by position in the context: a block a length, its name on top: position, per
# cent, standard error. curves: how many; bar, late: per cent.
height = 460
load "style.gp"
set xlabel "position, tokens"
set ylabel "equal likeliest tokens, %"
set key outside top left horizontal maxcols 2
set xrange [0:*]
set yrange [*:100.5]
set offsets 0, 0, 0, 2
plot for [i=0:curves-1] data index i using 1:2:3 with yerrorlines pointtype marks[i+1] pointsize 0.8 linewidth 1.8 linecolor rgb series[i+1] title columnheader(1) noenhanced, \
     bar with lines dashtype 4 linewidth 1.8 linecolor rgb red title sprintf("bar, %g %%", bar), \
     late with lines dashtype 3 linewidth 1.8 linecolor rgb red title (late != bar ? sprintf("last quarter, %g %%", late) : "")
set output
