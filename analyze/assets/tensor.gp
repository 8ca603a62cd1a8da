# A tensor. Blocks: 0 its name; 1 histogram of x / scale: cell, share of the weights in it; 2 levels
# of the chosen grid, as a comb; 3 packed candidates, 4 coded ones, 5 hull, 6 the chosen one: bits,
# dB. Blocks 2 and 6 have their titles on top. sides: 2 with a rate-distortion curve; low: below the
# smallest share.
height = sides == 2 ? 710 : 350
load "style.gp"
set multiplot
# The name.
unset border
unset tics
unset grid
unset key
set xrange [0:1]
set yrange [0:1]
set lmargin at screen 0
set rmargin at screen 1
set bmargin at screen 0
set tmargin at screen 1
plot data index 0 using (0.5):(1 - 14.0 / height):1 with labels noenhanced textcolor rgb ink font ",14"
set border 3 linecolor rgb ink
set tics nomirror textcolor rgb ink
set grid linecolor rgb grid linetype 1 linewidth 0.7
set lmargin at screen 0.165
set rmargin at screen 0.965
set tmargin at screen 1 - 60.0 / height
set bmargin at screen 1 - 290.0 / height
set key at screen 0.965, screen 1 - 28.0 / height right top horizontal maxcols 2
set xlabel offset 0,0.4
set xlabel "weight / largest magnitude that shares its scale"
set ylabel "share of weights" offset 0.5,0
set xrange [-1:1]
set xtics nomirror -1, 0.5, 1
set mxtics 2
set ytics nomirror
set logscale y
set format y "%g"
set yrange [low:*]
plot data index 1 using 1:($2 > 0 ? $2 : low) with filledcurves y1=low fillcolor rgb sky fillstyle solid 0.45 title "weights", \
     data index 2 using 1:($2 > 0 ? low * 2.5 : low) with lines linecolor rgb red linewidth 1.5 title columnheader(1) noenhanced
if (sides == 2) {
  unset logscale y
  unset mxtics
  set format y "% h"
  set tmargin at screen 1 - 413.0 / height
  set bmargin at screen 62.0 / height
  set key at screen 0.965, screen 1 - 357.0 / height right top horizontal maxcols 2
  set xlabel "bits a weight"
  set ylabel "SQNR, dB" offset -1,0
  set xrange [0:13]
  set yrange [*:*]
  set xtics nomirror 0, 1, 13
  plot data index 5 using 1:2 with lines linewidth 6 linecolor rgb grid title "hull", \
       data index 3 using 1:2 with points pointtype 7 pointsize 0.4 linecolor rgb blue title "packed", \
       data index 4 using 1:2 with points pointtype 5 pointsize 0.35 linecolor rgb red title "entropy-coded", \
       data index 6 using 1:2 with points pointtype 3 pointsize 1.6 linewidth 2 linecolor rgb ink title columnheader(1) noenhanced
}
unset multiplot
set output
