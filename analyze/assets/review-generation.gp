# Equal greedy tokens by position. Blocks: 0 what it is of; then for both models fed the same tokens
# (1 to 3) and each its own (4 to 6): mean of the prompts, mean of prompts cut from the text, each
# prompt. Means: position, per cent, lower and upper end of a standard error. bar: per cent; low: the
# least fed the same; from_text: whether there are such prompts; prompts: how many; end: the last
# position.
height = 722
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
set ylabel "equal tokens, %"
set xrange [0:end]
floor10(y) = y < 10 ? 0 : 10 * floor((y - 0.5) / 10)
do for [m=0:1] {
  first = 1 + 3 * m
  top = m ? 408.0 : 90.0
  set tmargin at screen 1 - top / height
  set bmargin at screen 1 - (top + (m ? 244 : 220)) / height
  set xlabel (m ? "position in the continuation, tokens" : "")
  set yrange [(m ? 0 : floor10(low < bar ? low : bar)):101]
  set key at screen 0.13, screen 1 - (top - 58) / height left top horizontal maxcols 1 samplen 2 font ",12"
  label = m ? "each its own tokens" : "both the same tokens"
  plot data index first+2 using 1:2 with lines linewidth 0.8 linecolor rgb sky notitle, \
       data index first using 1:3:4 with filledcurves fillcolor rgb blue fillstyle transparent solid 0.2 notitle, \
       data index first+1 using 1:2 with lines dashtype 2 linewidth 2 linecolor rgb green title (from_text ? "cut from the text" : ""), \
       data index first using 1:2 with linespoints pointtype 7 pointsize 0.5 linewidth 2.5 linecolor rgb blue title label.sprintf(", mean of %d", prompts), \
       bar with lines dashtype 4 linewidth 1.8 linecolor rgb red title sprintf("bar, %g %%", bar)
}
unset multiplot
set output
