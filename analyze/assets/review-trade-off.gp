# Size against decoding time: a block a coder, its name on top: nanoseconds an element, least and
# most, bits an element, values in a page or 0. coders: how many; fastest, slowest, least, most: bounds
# of nanoseconds and bits.
height = 440 + 19 * ((coders + 2) / 3)
load "style.gp"
set logscale x
set xtics (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100)
set xrange [fastest / 1.3:slowest * 1.3]
if (most > 2 * least) {
  set logscale y
  set ytics (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32)
  set yrange [least / 1.15:most * 1.15]
} else {
  pad = 0.08 * (most - least) + 0.01
  set yrange [least - pad:most + pad]
}
set xlabel "decoding, nanoseconds a weight on one thread"
set ylabel "payload, bits a coded weight"
set key outside top left horizontal maxcols 3
size(page) = page > 0 ? 0.35 + 0.12 * (log(page) / log(2) - 10) : 1.2
tone(i) = series[(i + i / 8) % 8 + 1]
plot for [i=0:coders-1] data index i skip 1 using 1:4 with lines linewidth 1.2 linecolor rgb tone(i) notitle, \
     for [i=0:coders-1] data index i skip 1 using 1:4:2:3 with xerrorbars pointtype 0 linewidth 1.2 linecolor rgb tone(i) notitle, \
     for [i=0:coders-1] data index i using 1:4:(size($5)) with points pointtype marks[i%8+1] pointsize variable linewidth 1.8 linecolor rgb tone(i) title columnheader(1) noenhanced
set output
