# SQNR of all matrices together against bits a weight, less the 6.02 dB that a bit brings, so that
# differences show. Blocks: 0 QINS packed, 1 INT at its best clip, packed, 2 INT absmax, packed, 3
# QINS coded, 4 INT coded, 5 hull, 6 the plan's choices, one a tensor; then formats of llama.cpp, one
# each, its name on top. Columns: bits, dB. chosen, formats: how many.
height = 520
load "style.gp"
set xlabel "bits a weight, scales included"
set ylabel "SQNR less 6.02 dB a bit, dB"
set xrange [1.5:13]
set offsets 0, 0, 0.5, 0.3
less(x, y) = y - 20 * log10(2) * x
set key outside top left horizontal maxcols 3
set xtics 1
plot data index 5 using 1:(less($1, $2)) with lines linewidth 7 linecolor rgb grid title "convex hull", \
     data index 6 using 1:(less($1, $2)) with points pointtype 13 pointsize 0.6 linecolor rgb green title (chosen ? "plan, a tensor" : ""), \
     data index 0 using 1:(less($1, $2)) with linespoints pointtype 7 pointsize 0.6 linewidth 2 linecolor rgb blue title "QINS packed", \
     data index 1 using 1:(less($1, $2)) with linespoints pointtype 5 pointsize 0.6 linewidth 1.5 linecolor rgb orange title "INT packed", \
     data index 2 using 1:(less($1, $2)) with linespoints pointtype 4 pointsize 0.6 linewidth 2 linecolor rgb orange dashtype 2 title "INT absmax", \
     data index 3 using 1:(less($1, $2)) with lines linewidth 2 linecolor rgb blue dashtype 4 title "QINS coded", \
     data index 4 using 1:(less($1, $2)) with lines linewidth 2 linecolor rgb red title "INT coded", \
     for [i=1:formats] data index 6+i using 1:(less($1, $2)) with points pointtype marks[(i-1)%8+1] pointsize 0.8 linecolor rgb ink title columnheader(1) noenhanced
set output
