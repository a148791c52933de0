// Package recipes has the code of docs/recipes.md, as examples that the tests run.
package recipes
