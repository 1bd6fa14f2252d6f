// Formats a Markdown table.

const cell = (item: string | number) => String(item).replaceAll("|", "\\|");

export const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [head.map(cell), head.map(() => "---"), ...rows.map((row) => row.map(cell))]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n");
