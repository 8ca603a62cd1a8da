# Criteria beyond their thresholds: row, per cent. Blocks: 0 row and name in two columns; 1 earlier reviews; 2 the review
# before and this one; 3 this one, met; 4 not met. rows: how many.
height = 70 + 36 * rows
load "style.gp"
wide(x) = x < 0 ? -sqrt(-x) : sqrt(x)
set border 1 linecolor rgb ink
unset ytics
unset grid
unset key
set lmargin at screen 0.03
set rmargin at screen 0.97
set bmargin at screen 62.0 / height
set tmargin at screen 1 - 6.0 / height
set xrange [wide(-100) - 0.4:wide(100) + 0.4]
set yrange [rows - 0.1:-0.75]
set xtics ("-100" wide(-100), "-50" wide(-50), "-20" wide(-20), "-5" wide(-5), "0" 0, "5" wide(5), "20" wide(20), "50" wide(50), "100" wide(100))
set xlabel "beyond the threshold, %" offset 0,0.3
set arrow 1 from 0, graph 0 to 0, graph 1 nohead back linecolor rgb soft linewidth 1.5
plot data index 0 using (wide(-100) - 0.3):($1 - 0.38):(strcol(2).strcol(3)) with labels noenhanced left textcolor rgb ink font ",12", \
     data index 1 using (wide($2)):1 with points pointtype 6 pointsize 0.8 linewidth 1.5 linecolor rgb soft, \
     data index 2 using (wide($2)):1:(wide($3) - wide($2)):(0) with vectors head filled size 0.25,18 linewidth 1.8 linecolor rgb soft, \
     data index 3 using (wide($2)):1 with points pointtype 7 pointsize 1.1 linecolor rgb blue, \
     data index 4 using (wide($2)):1 with points pointtype 5 pointsize 1.1 linecolor rgb red
set output
