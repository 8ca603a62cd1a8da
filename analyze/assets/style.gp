# What all plots share; each sets name and height and loads this. kind is svg or png. On a phone's
# page a picture shrinks to some 360 pixels: the width keeps its text legible there.
# Colours: Okabe and Ito, "Color Universal Design" (2008); readers with any colour vision can tell
# them apart. Ink, grid, soft and blue are replaced on dark pages.
reset
if (!exists("kind")) kind = "svg"
width = 600
ink = "#30363d"
grid = "#d0d7de"
soft = "#6e7781"
blue = "#0072b2"
orange = "#e69f00"
green = "#009e73"
red = "#d55e00"
purple = "#cc79a7"
sky = "#56b4e9"
array series[8] = [blue, red, green, orange, purple, sky, soft, ink]
array marks[8] = [7, 5, 9, 11, 13, 6, 4, 8]
set encoding utf8
set datafile separator "\t"
set datafile missing "NaN"
cairo = strstrt(GPVAL_TERMINALS, "pngcairo") > 0
if (kind eq "svg") set terminal svg size width,height dynamic noenhanced font "DejaVu Sans,Verdana,sans-serif,15"
if (kind eq "png" && cairo) set terminal pngcairo noenhanced size 2*width,2*height font "DejaVu Sans,15" fontscale 1.5 linewidth 2 pointscale 2 background rgb "white"
if (kind eq "png" && !cairo) set terminal png noenhanced size 2*width,2*height font "DejaVuSans,15" fontscale 1.5 linewidth 2 pointscale 2 background rgb "white"
set output name.".".kind
set border 3 linecolor rgb ink
set tics nomirror textcolor rgb ink
set xlabel textcolor rgb ink
set ylabel textcolor rgb ink
set title textcolor rgb ink
set grid linecolor rgb grid linetype 1 linewidth 0.7
set key noenhanced textcolor rgb ink Left reverse samplen 2 spacing 1.15 font ",14"
set style fill solid 0.9 noborder
data = name.".dat"
