# Coefficients: first of the channels that share a cell, end of them, row, deviation from the row's
# median, row's name. rows, channels: how many.
height = 130 + 18 * rows
load "style.gp"
set xlabel "channel"
unset grid
unset key
set border 0
set tics scale 0
set xrange [0:channels]
set yrange [rows - 0.5:-0.5]
set ytics font ",12"
set palette defined (-1 blue, 0 "#dfe4ea", 1 red)
set cbrange [-1:1]
set cbtics ("-100 %%" -1, "-50 %%" -0.5, "median" 0, "+50 %%" 0.5, "+100 %%" 1) font ",12" textcolor rgb ink
set colorbox horizontal user origin graph 0, screen 1 - 34.0 / height size graph 1, screen 12.0 / height noborder
set tmargin 4
plot data using 1:3:1:2:($3-0.47):($3+0.47):4:ytic(5) with boxxyerror fillstyle solid 1 noborder linecolor palette notitle
set output
