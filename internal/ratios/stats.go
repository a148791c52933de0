//go:build linux

package main

import "slices"

// spread says how measured numbers are spread.
type spread struct {
	Min    float64 `json:"min"`
	P10    float64 `json:"p10"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	Max    float64 `json:"max"`
}

// spreadOf returns the spread of some numbers, at least one.
func spreadOf(xs []float64) spread {
	sorted := slices.Sorted(slices.Values(xs))
	return spread{
		Min:    sorted[0],
		P10:    quantile(sorted, 0.1),
		Median: quantile(sorted, 0.5),
		P90:    quantile(sorted, 0.9),
		Max:    sorted[len(sorted)-1],
	}
}

// quantile interpolates between the two neighbours of a quantile.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i == len(sorted)-1 {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// ratiosOf divides the numbers of each pair. What disturbs the machine for
// longer than a pair takes disturbs both sides of it, and leaves the ratio.
func ratiosOf(ours, rival []float64) []float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / rival[i]
	}
	return ratios
}
