// Package suite has a test suite in JavaScript that tests a program against
// Recall, as one in any language can: reminders.test.mjs.
package suite
