"use strict";
// Says so when the page stops refreshing: an old list that looks live would be dangerous.
function refreshed(works) {
  document.querySelector(".stale").hidden = works;
}
document.addEventListener("htmx:error", () => refreshed(false));
document.addEventListener("htmx:after:request", (event) => {
  refreshed(event.detail.ctx.response.status < 400);
});
