# Overlap of the k likeliest tokens: a block a candidate, its name on top: k, per cent, standard
# error. curves: how many.
height = 420 + 19 * (curves + 1)
load "style.gp"
set xlabel "k"
set ylabel "shared among the k likeliest, %"
set key outside top left horizontal maxcols 1
set xrange [0.6:10.6]
set xtics 1
bar = 97
set yrange [*<96:100]
set offsets 0, 0, 0.2, 0.6
set arrow 1 from 9.6, bar to 10.4, bar nohead linewidth 2.5 linecolor rgb red
shift(i) = curves > 1 ? 0.24 * (i - (curves - 1) / 2.0) / curves : 0
plot for [i=0:curves-1] data index i using ($1+shift(i)):2:3 with yerrorlines pointtype marks[i+1] pointsize 0.8 linewidth 1.8 linecolor rgb series[i+1] title columnheader(1) noenhanced, \
     keyentry with lines linewidth 2.5 linecolor rgb red title sprintf("bar for k = 10, %g %%", bar)
set output
