# Error by layer. Blocks: 0 what it is of; 1 a row a layer, two columns a kind, its name on top: SQNR
# and 99th percentile of the relative error in per cent; 2 tensors of no layer: place, both, name.
# kinds, others: how many; last: the largest layer.
height = 668
load "style.gp"
set multiplot
unset border
unset tics
unset grid
unset key
set lmargin at screen 0
set rmargin at screen 1
set tmargin at screen 1
set bmargin at screen 0
set xrange [0:1]
set yrange [0:1]
plot data index 0 using (0.5):(1 - 14.0 / height):1 with labels noenhanced textcolor rgb ink font ",14"
set border 3 linecolor rgb ink
set tics nomirror textcolor rgb ink
set xtics nomirror
set ytics nomirror
set grid linecolor rgb grid linetype 1 linewidth 0.7
set lmargin at screen 0.13
set rmargin at screen 0.965
step = last < 16 ? 1 : last < 64 ? 4 : 10
set xtics 0, step
if (last >= 0) set xtics 0, step, last
if (others > 0) set xtics add ("" last + 1 + (others - 1) / 2.0)
set xrange [-0.4:last + others + (others > 0 ? 0.6 : 0.4)]
set key at screen 0.13, screen 1 - 30.0 / height left top horizontal maxcols 3 samplen 2 spacing 1.05 font ",12"
top = 34 + 19 * ((kinds + (others > 0) + 3) / 3)
set tmargin at screen 1 - (1.0 * top) / height
set bmargin at screen 1 - (top + 260.0) / height
set ylabel "SQNR, dB"
set yrange [*:*]
set offsets 0, 0, 1, 1
set format x ""
bar = 37
plot for [i=0:kinds-1] data index 1 using 1:2*i+2 with linespoints pointtype marks[i+1] pointsize 0.8 linewidth 1.8 linecolor rgb series[i+1] title columnheader(2*i+2) noenhanced, \
     data index 2 using 1:2 with points pointtype 12 pointsize 1.1 linewidth 2 linecolor rgb ink title (others > 0 ? "of no layer" : ""), \
     bar with lines dashtype 4 linewidth 1.8 linecolor rgb red title "bar"
unset key
set format x "%g"
set xtics 0, step
if (last >= 0) set xtics 0, step, last
if (others > 0) set xtics add ("others" last + 1 + (others - 1) / 2.0)
set tmargin at screen 1 - (top + 280.0) / height
set bmargin at screen 66.0 / height
set ylabel "p99 relative error, %"
set xlabel "layer" offset 0,0.4
set logscale y
set offsets 0, 0, graph 0.14, graph 0.1
set autoscale yfix
set ytics nomirror (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 20, 30, 50, 100, 300, 1000)
bar = 3
plot for [i=0:kinds-1] data index 1 using 1:2*i+3 with linespoints pointtype marks[i+1] pointsize 0.8 linewidth 1.8 linecolor rgb series[i+1] title columnheader(2*i+3) noenhanced, \
     data index 2 using 1:3 with points pointtype 12 pointsize 1.1 linewidth 2 linecolor rgb ink notitle, \
     for [i=0:1] data index 2 every 2::i using 1:3:4 with labels noenhanced right offset 1.2,(i ? 0.8 : -0.9) textcolor rgb ink font ",11" notitle, \
     bar with lines dashtype 4 linewidth 1.8 linecolor rgb red notitle
unset multiplot
set output
