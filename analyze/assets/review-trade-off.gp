# Size against decoding time: a block a coder, its name on top: nanoseconds an element, least and
# most, bits an element. points: how many; fastest,
# slowest, least, most: bounds of nanoseconds and bits.
height = 440 + 19 * ((points + 2) / 3)
load "style.gp"
set logscale x
set xtics (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)
set xlabel "decoding, nanoseconds a weight on one thread"
set ylabel "bits a weight"
set logscale y
set ytics (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
set xrange [fastest / 1.3:slowest * 1.3]
set yrange [least / 1.15:most * 1.15]
set key outside top left horizontal maxcols 3
plot for [i=0:points-1] data index i using 1:4:2:3 with xerrorbars pointtype marks[i%8+1] pointsize 1.2 linewidth 1.8 linecolor rgb series[(i+i/8)%8+1] title columnheader(1) noenhanced
set output
