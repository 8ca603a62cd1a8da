# Gain of QINS over INT in dB at each rate: mean of the tensors, and from the least to the largest.
# Blocks: 0 fixed rate, over INT with absmax scales; 1 over INT at its best clip; 2 equal coded
# rate. Columns: bits a weight, mean, least, largest.
height = 470
load "style.gp"
set xlabel "bits a weight"
set ylabel "SQNR of QINS less that of INT, dB"
set key outside top left horizontal maxcols 1
set xzeroaxis linecolor rgb ink linewidth 1.5
set xtics 1
set xrange [1.7:12.3]
set offsets 0, 0, 0.3, 0.3
plot data index 0 using 1:3:4 with filledcurves fillcolor rgb sky fillstyle transparent solid 0.18 notitle, \
     data index 1 using 1:3:4 with filledcurves fillcolor rgb blue fillstyle transparent solid 0.18 notitle, \
     data index 2 using 1:3:4 with filledcurves fillcolor rgb red fillstyle transparent solid 0.18 notitle, \
     data index 0 using 1:2 with linespoints pointtype 6 pointsize 0.8 linewidth 2 linecolor rgb sky title "fixed rate, packed: over INT with absmax scales", \
     data index 1 using 1:2 with linespoints pointtype 7 pointsize 0.8 linewidth 2.5 linecolor rgb blue title "fixed rate, packed: over INT at its best clip", \
     data index 2 using 1:2 with linespoints pointtype 5 pointsize 0.8 linewidth 2.5 linecolor rgb red title "equal entropy-coded rate: over INT"
set output
