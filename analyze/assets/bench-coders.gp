# Speed of coders on symbol streams. Blocks: 0 streams: entropy and name; then two for each coder, its name on top: bits
# a symbol, decoding in GB/s, least and most, on its fastest CPU level; bits and speed on the others. coders: how many;
# copy: GB/s of memcpy; slowest, fastest, least, most: bounds of speeds and bits.
height = 470 + 19 * ((coders + 2) / 3)
load "style.gp"
set logscale y
set pointintervalbox 0
set ytics (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
top = 1.9 * (fastest > copy ? fastest : copy)
set yrange [slowest / 1.4:top]
set xrange [least - 0.5:most + 0.5]
set xlabel "coded size, bits a symbol"
set ylabel "decoding, GB of symbols a second, one core"
set key outside top left horizontal maxcols 3
tone(i) = series[(i + i / 8) % 8 + 1]
plot data index 0 using 1:(slowest / 1.4):(0):(top / 1.25 - slowest / 1.4) with vectors nohead dashtype 2 linewidth 1 linecolor rgb soft notitle, \
     data index 0 using 1:(top / 1.11):2 with labels noenhanced textcolor rgb soft font ",13" notitle, \
     copy with lines dashtype 3 linewidth 1.5 linecolor rgb soft title "memcpy", \
     for [i=0:coders-1] data index 2*i+2 using 1:2 with points pointtype marks[i%8+1] pointsize 0.45 linewidth 1 linecolor rgb tone(i) notitle, \
     for [i=0:coders-1] data index 2*i+1 using 1:2:3:4 with yerrorbars pointtype 0 linewidth 1.2 linecolor rgb tone(i) notitle, \
     for [i=0:coders-1] data index 2*i+1 using 1:2 with points pointtype marks[i%8+1] pointsize 1.05 linewidth 1.8 linecolor rgb tone(i) title columnheader(1) noenhanced
set output
