# Criteria beyond their thresholds: row, per cent. Blocks: 0 row and name in two columns; 1 earlier reviews, with the
# review's number in the fourth; 2 the review before and this one; 3 this one, met; 4 not met; 5 gates: row and name.
# rows: how many.
height = 70 + 36 * rows
load "style.gp"
wide(x) = x < 0 ? -sqrt(-x) : sqrt(x)
long = 84
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
set xlabel "not met ← 0 → met, beyond the threshold, %" offset 0,0.3
plot data index 5 using (wide(-100) - 0.3):($1 - 0.05):2 with labels noenhanced left textcolor rgb soft font ",13", \
     data index 0 using (wide(-100) - 0.3):(strlen(strcol(2).strcol(3)) > long ? NaN : $1 - 0.38):(strcol(2).strcol(3)) with labels noenhanced left textcolor rgb ink font ",12", \
     data index 0 using (wide(-100) - 0.3):(strlen(strcol(2).strcol(3)) > long ? $1 - 0.38 : NaN):(strcol(2).strcol(3)) with labels noenhanced left textcolor rgb ink font ",10", \
     data index 0 using (0):($1 - 0.17):(0):(0.36) with vectors nohead linewidth 1.5 linecolor rgb soft, \
     data index 1 using (wide($2)):1 with points pointtype 6 pointsize 0.8 linewidth 1.5 linecolor rgb soft, \
     data index 1 using (wide($2)):($1 + 0.3):4 with labels noenhanced textcolor rgb soft font ",9", \
     data index 2 using (wide($2)):1:(wide($3) - wide($2)):(0) with vectors head filled size 0.25,18 linewidth 1.8 linecolor rgb soft, \
     data index 3 using (wide($2)):1 with points pointtype 7 pointsize 1.1 linecolor rgb blue, \
     data index 4 using (wide($2)):1 with points pointtype 5 pointsize 1.1 linecolor rgb red
set output
