# Bits a value of V pages by layer, a column for each line, whose name stands on top. columns: how
# many; bits: of a packed code; last: the largest layer; label: of the axis.
height = 440
load "style.gp"
set xlabel "layer"
set ylabel label
set key outside top left horizontal maxcols 2 font ",13"
set xrange [-0.3:last + 0.3]
set yrange [*:*]
set offsets 0, 0, graph 0.06, graph 0.06
set xtics 0, (last < 16 ? 1 : last < 64 ? 4 : 10)
plot bits with lines dashtype 2 linewidth 1.6 linecolor rgb soft title sprintf("%d bits", bits), \
     for [i=2:columns+1] data using 1:i with linespoints pointtype marks[i-1] pointsize 0.9 linewidth 1.8 linecolor rgb series[i-1] title columnheader(i) noenhanced
set output
