# Counts of a forward pass by stage: its name, decodes of pattern A, of B, products of planes of B.
# rows: how many; largest: of the counts.
height = 150 + 62 * rows
load "style.gp"
set xlabel "in one forward pass"
set yrange [rows - 0.4:-0.6]
set xrange [0:largest * 1.12]
set border 1
set tics scale 0.5
set key outside top left horizontal maxcols 2
plot data using (0):0:(0):2:($0-0.42):($0-0.16):ytic(1) with boxxyerror linecolor rgb orange title "decodes, A", \
     data using (0):0:(0):3:($0-0.13):($0+0.13) with boxxyerror linecolor rgb green title "decodes, B", \
     data using (0):0:(0):4:($0+0.16):($0+0.42) with boxxyerror linecolor rgb sky title "plane products, B", \
     data using 2:($0-0.29):(sprintf("%d", $2)) with labels noenhanced left offset 0.6,0 textcolor rgb ink font ",12" notitle, \
     data using 3:($0):(sprintf("%d", $3)) with labels noenhanced left offset 0.6,0 textcolor rgb ink font ",12" notitle, \
     data using 4:($0+0.29):(sprintf("%d", $4)) with labels noenhanced left offset 0.6,0 textcolor rgb ink font ",12" notitle
set output
