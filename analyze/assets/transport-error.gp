# Error of native layers against kappa. Blocks: 0 what it is of; 1 decoding before the product; 2 to 5
# split by order; 6 to 9 with a plane of signs; 10 to 12 the Jacobian formulas; 13 ridge: kappa,
# error, order. absmax, clip: errors of the uniform grid, or 0; low, high: bounds of errors; known: "1" for
# each block from 1 on that has points.
has(i) = known[i:i] eq "1"
keys = (absmax > 0) + (clip > 0)
do for [i=1:strlen(known)] { if (has(i) && (i < 6 || i > 9)) { keys = keys + 1 } }
top = 34 + 19 * ((keys + 1) / 2)
height = 405 + top
load "style.gp"
set multiplot
# The name.
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
set grid linecolor rgb grid linetype 1 linewidth 0.7
set lmargin at screen 0.15
set rmargin at screen 0.965
set tmargin at screen 1 - (1.0 * top) / height
set bmargin at screen 62.0 / height
set key at screen 0.15, screen 1 - 28.0 / height left top horizontal maxcols 2 samplen 2.5 spacing 1 font ",12"
set logscale y
set xlabel "kappa" offset 0,0.4
set ylabel "mean |difference| / mean |output|" offset 0.5,0
set format y "%g"
set yrange [low:high]
set xtics nomirror
set ytics nomirror
at(x) = log(1 + x)
set xrange [at(0):at(16)]
set xtics ("0" at(0), "0.5" at(0.5), "1" at(1), "2" at(2), "3" at(3), "4" at(4), "6" at(6), "8" at(8), "12" at(12), "16" at(16))
name(i, text) = has(i) ? text : ""
array tone[4] = [purple, orange, green, blue]
plot (absmax > 0 ? absmax : NaN) with lines dashtype 2 linewidth 2 linecolor rgb soft title (absmax > 0 ? sprintf("INT%d absmax", bits) : ""), \
     (clip > 0 ? clip : NaN) with lines dashtype 4 linewidth 2 linecolor rgb ink title (clip > 0 ? sprintf("INT%d, best clip", bits) : ""), \
     data index 1 using (at($1)):2 with lines linewidth 3 linecolor rgb ink title name(1, "decoded before"), \
     for [k=1:4] data index 1+k using (at($1)):2 with linespoints pointtype marks[k] pointsize 0.6 linewidth 2 linecolor rgb tone[k] title name(1+k, sprintf("split K = %d", k)), \
     for [k=1:4] data index 5+k using (at($1)):2 with lines dashtype 3 linewidth 1.5 linecolor rgb tone[k] notitle, \
     data index 10 using (at($1)):2 with lines linewidth 1.5 linecolor rgb red title name(10, "literal, decoded"), \
     data index 11 using (at($1)):2 with lines dashtype 2 linewidth 1.5 linecolor rgb red title name(11, "literal, plain"), \
     data index 12 using (at($1)):2 with lines dashtype 4 linewidth 1.5 linecolor rgb red title name(12, "tangent"), \
     data index 13 using (at($1)):2 with points pointtype 12 pointsize 1.1 linewidth 2 linecolor rgb sky title name(13, "ridge, by K"), \
     data index 13 using (at($1)):2:(sprintf("%d", $3)) with labels noenhanced offset 1,0.5 textcolor rgb ink font ",11" notitle
unset multiplot
set output
