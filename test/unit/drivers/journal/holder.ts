// Opens the journal of its argument, prints a line, and holds the journal until it is killed.

import { openFileJournal } from "../../../../src/drivers/journal/file-journal.js";

try {
  await openFileJournal(process.argv[2] ?? "");
  console.log("open");
  setInterval(() => {}, 60_000);
} catch (error) {
  console.log(error instanceof Error ? error.message : String(error));
}
