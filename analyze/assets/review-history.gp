# Criteria through reviews: a block a criterion, its name on top: number of the review, per cent beyond
# the threshold. curves: how many; last: the number of this review.
height = 380 + 17 * curves
load "style.gp"
set xlabel "review"
set ylabel "beyond the threshold, %"
set xtics 1
if (last > 20) set xtics 5
set xrange [*:last + 0.3]
set offsets 0.3, 0, 5, 5
set autoscale xfixmin
set autoscale yfix
set key outside top left horizontal maxcols 1 font ",12" spacing 1.05
set xzeroaxis linetype 1 linecolor rgb ink linewidth 2
plot for [i=0:curves-1] data index i using 1:2 with linespoints pointtype marks[i%8+1] pointsize 0.8 linewidth 1.6 linecolor rgb series[(i+i/8)%8+1] title columnheader(1) noenhanced
set output
