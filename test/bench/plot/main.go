// SPDX-License-Identifier: Apache-2.0

// Command plot draws the results of a benchmark as bars.
//
// usage: plot RESULTS.json PICTURE.svg
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

type figure struct {
	Measure, Who, What, Unit string
	N                        int
	Median                   float64
	CPU                      float64 `json:"cpu_ms"`
}

// bar is one line of a panel.
type bar struct {
	name  string
	value float64
}

type panel struct {
	title string
	bars  []bar // as they are shown, from above
}

const (
	width     = 18 * vg.Centimeter
	barHeight = 0.62 * vg.Centimeter
	margin    = 1.7 * vg.Centimeter // a panel's title and axis
)

var (
	ours   = color.RGBA{0x1f, 0x6f, 0xb4, 0xff}
	others = color.RGBA{0xa9, 0xb4, 0xbe, 0xff}
)

func main() {
	plot.DefaultFont.Variant = "Sans" // as wide as the Arial or Helvetica that a viewer may have instead
	plotter.DefaultFont.Variant = "Sans"
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plot RESULTS.json PICTURE.svg")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var results struct{ Figures []figure }
	if err := json.Unmarshal(data, &results); err != nil {
		return fmt.Errorf("cannot read %s: %w", from, err)
	}
	panels := panelsOf(results.Figures)
	if len(panels) == 0 {
		fmt.Fprintln(os.Stderr, "plot: no picture: it would show run, rate and list, and none of them was measured")
		return nil
	}
	canvas, err := drawn(panels)
	if err != nil {
		return err
	}
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(file)
	return errors.Join(err, file.Close())
}

// panelsOf picks what can be seen at a glance; the table has the rest.
func panelsOf(figures []figure) (panels []panel) {
	add := func(title, measure, unit string, most bool, value func(figure) float64, shows func(figure) bool) {
		p := panel{title: title}
		for _, f := range figures {
			if f.Measure == measure && f.Unit == unit && f.N > 0 && shows(f) {
				p.bars = append(p.bars, bar{nameOf(f), value(f)})
			}
		}
		slices.SortStableFunc(p.bars, func(a, b bar) int {
			if (a.value < b.value) != most {
				return -1
			}
			return 1
		})
		if len(p.bars) > 0 {
			panels = append(panels, p)
		}
	}
	median := func(f figure) float64 { return f.Median }
	cpu := func(f figure) float64 { return f.CPU }
	onDirectory := func(f figure) bool {
		return f.What == "directory" || f.Who == "firmwared" && (f.What == "directory, registered" || f.What == "directory, by path")
	}
	add("One throw-away run of true: milliseconds", "run", "ms", false, median, onDirectory)
	add("The same: CPU milliseconds", "run", "ms", false, cpu, onDirectory)
	add("Throw-away runs a second, two workers", "rate", "runs/s", true, median, func(figure) bool { return true })
	add("Memory of supervising processes per running instance: KiB", "list", "KiB", false, median, func(f figure) bool { return f.Median > 0 })
	return panels
}

func nameOf(f figure) string {
	switch {
	case f.Measure == "list":
		return f.Who + f.What[slices.Index([]byte(f.What), ','):]
	case f.Who == "firmwared" && f.What == "directory, by path":
		return "firmwared, by path"
	case f.Who == "floor":
		return "bare system calls"
	}
	return f.Who
}

func drawn(panels []panel) (*vgsvg.Canvas, error) {
	var height vg.Length
	for _, p := range panels {
		height += margin + vg.Length(len(p.bars))*barHeight
	}
	canvas := vgsvg.New(width, height)
	// A viewer with a dark background would hide black text.
	canvas.SetColor(color.White)
	canvas.Fill(vg.Rectangle{Max: vg.Point{X: width, Y: height}}.Path())
	top := height
	for _, p := range panels {
		chart, err := chartOf(p)
		if err != nil {
			return nil, err
		}
		own := margin + vg.Length(len(p.bars))*barHeight
		chart.Draw(draw.Canvas{Canvas: canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: 0, Y: top - own}, Max: vg.Point{X: width - barHeight, Y: top - 0.2*vg.Centimeter}}})
		top -= own
	}
	return canvas, nil
}

// chartOf draws bars that lie, ours in another colour, each with its value.
func chartOf(p panel) (*plot.Plot, error) {
	chart := plot.New()
	chart.Title.Text = p.title
	chart.Title.TextStyle.Font.Size = font.Points(12)
	chart.X.Min = 0
	var names []string
	most := 0.0
	count := len(p.bars)
	for i, bar := range p.bars {
		at := float64(count - 1 - i) // the first is on top
		bars, err := plotter.NewBarChart(plotter.Values{bar.value}, barHeight*0.7)
		if err != nil {
			return nil, err
		}
		bars.Horizontal, bars.XMin, bars.LineStyle.Width, bars.Color = true, at, 0, others
		if len(bar.name) >= 9 && bar.name[:9] == "firmwared" {
			bars.Color = ours
		}
		labels, err := plotter.NewLabels(plotter.XYLabels{
			XYs: plotter.XYs{{X: bar.value, Y: at}}, Labels: []string{label(bar.value)}})
		if err != nil {
			return nil, err
		}
		labels.TextStyle[0].YAlign, labels.Offset = text.YCenter, vg.Point{X: vg.Points(3)}
		chart.Add(bars, labels)
		names = append([]string{bar.name}, names...)
		most = max(most, bar.value)
	}
	chart.NominalY(names...)
	chart.Y.Padding = vg.Points(16) // a viewer's own font may be wider
	chart.X.Max, chart.Y.Min, chart.Y.Max = most*1.12, -0.6, float64(count)-0.4
	return chart, nil
}

func label(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
