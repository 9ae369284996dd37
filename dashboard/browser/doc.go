// Package browser tests the dashboard in a real browser: Chromium, driven by
// playwright-core, with the rules of axe for accessibility. It has tests alone; those of
// recall serve run the cases of the folder served. The packages are those of
// package-lock.json; nothing downloads a browser.
package browser
