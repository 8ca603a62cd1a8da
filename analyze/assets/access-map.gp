# Class and touches a token of every tensor: column (layer), row (kind), class (0 unknown, 1 cold,
# 2 hot), touches, layer's label, kind's label. columns, rows: how many.
height = 130 + 30 * rows
load "style.gp"
set xlabel "layer"
unset grid
set xrange [-0.5:columns - 0.5]
set yrange [rows - 0.5:-0.5]
set key outside top right horizontal
set border 0
set tics scale 0
shade(c) = c == 2 ? 0xd55e00 : c == 1 ? 0x0072b2 : 0x8b949e
show = columns <= 10
stride = columns <= 15 ? 1 : columns <= 33 ? 4 : 8
last(x) = x == columns - 1
layer(x, label) = last(x) || (int(x) % stride == 0 && x < columns - 1 - stride / 2) ? label : ""
plot data using 1:2:($1-0.46):($1+0.46):($2-0.42):($2+0.42):(shade($3)):xtic(layer($1, strcol(5))):ytic(6) with boxxyerror fillstyle solid 0.85 linecolor rgb variable notitle, \
     data using 1:(show ? $2 : NaN):(sprintf($4 >= 0.0995 || $4 == 0 ? "%.2g" : "%.1g", $4)) with labels textcolor rgb "white" font ",11" notitle, \
     NaN with boxes linecolor rgb red title "hot", \
     NaN with boxes linecolor rgb blue title "cold", \
     NaN with boxes linecolor rgb "#8b949e" title "unknown"
set output
