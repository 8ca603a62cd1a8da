# Perplexity: name, value, standard error, change from the first row in per cent, its standard error.
# rows: how many, the first being the model; longest: characters of the longest name; left: reports that were not measured
# alike.
panel = 36 + 26 * rows
height = 2 * panel + 126 + (left > 0 ? 24 : 0)
load "style.gp"
set multiplot
set lmargin at screen (longest > 44 ? 0.66 : longest > 18 ? 0.015 * longest : 0.28)
set rmargin at screen 0.96
set border 1 linecolor rgb ink
set ytics font ",12"
set ytics scale 0
unset key
set yrange [rows - 0.4:-0.6]
set tmargin at screen 1 - 10.0 / height
set bmargin at screen 1 - (10.0 + panel) / height
set xlabel "perplexity" offset 0,0.4
set offsets 0.02, 0.02, 0, 0
plot data using 2:0:3:ytic(1) with xerrorbars pointtype 7 pointsize 0.9 linewidth 2 linecolor rgb blue
set tmargin at screen 1 - (76.0 + panel) / height
set bmargin at screen (58.0 + (left > 0 ? 24 : 0)) / height
if (left > 0) set label 1 sprintf("%d of other windows or texts: not shown", left) at screen 0.96, screen 10.0 / height right noenhanced textcolor rgb soft font ",12"
set xlabel "change from FP32, %, paired" offset 0,0.4
set object 1 rectangle from -0.5, graph 0 to 0.5, graph 1 behind fillcolor rgb green fillstyle transparent solid 0.15 noborder
set arrow 1 from 0, graph 0 to 0, graph 1 nohead linecolor rgb ink linewidth 1
set yrange [rows - 0.4:0.4]
set xrange [*<-0.6:0.6<*]
plot data using 4:0:5:ytic(1) with xerrorbars pointtype 5 pointsize 0.9 linewidth 2 linecolor rgb red
unset multiplot
set output
