// Embeds stories in the page: the result is one file that a browser opens without a server.

const place = /(<script type="application\/json" id="stories">)[\s\S]*?(<\/script>)/;

/** Returns the page `html` with the given stories; stories that it already contains are replaced. */
export const withStories = (
  html: string,
  stories: readonly { readonly name: string; readonly text: string }[],
): string =>
  html.replace(
    place,
    (_, open: string, close: string) =>
      // No text in a story may close the script element that contains it.
      open + JSON.stringify(stories).replaceAll("<", "\\u003c") + close,
  );
