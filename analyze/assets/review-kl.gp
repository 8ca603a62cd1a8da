# Divergence: for each of curves a block of quantiles (share, nats) and one of the mean and its
# standard error; then their names, a block each. low, high: bounds in nats.
height = 440 + 19 * curves
load "style.gp"
set logscale y
set yrange [low:high]
set format y "%g"
set ylabel "KL, nats"
set xlabel "share of positions with at most that"
set key outside top left horizontal maxcols 1
at(q) = invnorm(q)
end = at(0.999)
set xrange [at(0.001) - 0.15:end + 1.5]
set xtics font ",12" ("0.1 %%" at(0.001), "1 %%" at(0.01), "10 %%" at(0.1), "50 %%" at(0.5), "90 %%" at(0.9), "99 %%" at(0.99), "99.9 %%" end, "mean" end + 1)
set arrow 1 from end + 0.65, 0.1 to end + 1.35, 0.1 nohead linewidth 2.5 linecolor rgb red dashtype 1
set label 1 "bar 0.1" at end + 1, 0.1 center offset 0,0.6 textcolor rgb red font ",12"
array names[curves]
do for [i=1:curves] { stats data index (2 * curves + i - 1) using (names[i] = strcol(1), 0) nooutput }
shift(i) = end + 1 + (curves > 1 ? 0.6 * (i - (curves - 1) / 2.0) / curves : 0)
plot for [i=0:curves-1] data index 2*i using (at($1)):2 with linespoints pointtype marks[i+1] pointsize 0.7 linewidth 2 linecolor rgb series[i+1] notitle, \
     for [i=0:curves-1] data index 2*i+1 using (shift(i)):1:2 with yerrorbars pointtype marks[i+1] pointsize 0.9 linewidth 1.8 linecolor rgb series[i+1] notitle, \
     for [i=0:curves-1] keyentry with linespoints pointtype marks[i+1] pointsize 0.7 linewidth 2 linecolor rgb series[i+1] title names[i+1] noenhanced
set output
