// Small improvements of the pages. Without scripts, times are in UTC and the list does not refresh.
"use strict";

// Shows times in the time zone of the reader.
function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const today = date.toDateString() === new Date().toDateString();
    const options = today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
    time.textContent = new Intl.DateTimeFormat(undefined, options).format(date);
    time.title = time.dateTime;
  }
}

// Fetches the list every two seconds and replaces it if it has changed.
function refreshList() {
  let current = document.querySelector("[data-live]")?.innerHTML;
  if (current === undefined) return;
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(location.href);
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.querySelector("[data-live]");
      if (!fresh || fresh.innerHTML === current) return;
      current = fresh.innerHTML;
      localize(fresh);
      document.querySelector("[data-live]").replaceWith(fresh);
    } catch {
      // The server does not answer. The next refresh tries again.
    }
  };
  setInterval(refresh, 2000);
  document.addEventListener("visibilitychange", refresh);
}

// Shows the token of the address on the welcome page. The command is pasted into a shell, so only a well-formed token is
// shown.
function showToken() {
  const card = document.querySelector("[data-token]");
  if (!card) return;
  const token = /[#&]token=(inv1_[A-Za-z0-9_-]{67})(?:&|$)/.exec(location.hash)?.[1];
  card.hidden = !token;
  document.querySelector("[data-no-token]").hidden = Boolean(token);
  if (!token) return;
  const link = `${location.origin}/welcome#token=${token}`;
  const command = `target/debug/invitectl accept \\\n  --link '${link}' \\\n  --user-id new-user --user-email 'ADDRESS'`;
  card.querySelector("[data-fill=token]").textContent = token;
  card.querySelector("[data-fill=command]").textContent = command;
  card.querySelector("[data-copy]").onclick = async ({ target }) => {
    try {
      await navigator.clipboard.writeText(command);
      target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(card.querySelector("[data-fill=command]"));
      target.textContent = "Selected";
    }
    setTimeout(() => { target.textContent = "Copy"; }, 1500);
  };
}

const narrow = document.querySelector(".narrow input");
narrow?.addEventListener("change", () => document.querySelector(".frame").classList.toggle("phone", narrow.checked));

refreshList();
localize(document);
showToken();
addEventListener("hashchange", showToken);
