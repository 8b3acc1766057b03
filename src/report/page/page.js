// What a result page does besides being read: provenance of numbers, walking tables and figures with the arrow keys, names
// of points, and the choice of light or dark. Without it everything can still be read.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, parent) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };

  // Light and dark.
  const root = document.documentElement;
  const theme = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remember = (value) => { try { localStorage.setItem("spot-theme", value); } catch { /* Not every reader keeps things. */ } };
  const remembered = () => { try { return localStorage.getItem("spot-theme"); } catch { return null; } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const showTheme = () => { theme.textContent = isDark() ? "Light mode" : "Dark mode"; };
  if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);
  theme.hidden = false;
  showTheme();

  // Provenance.
  const records = JSON.parse(byId("records").textContent);
  const dialog = byId("provenance");
  const holder = byId("provenance-records");
  let trail = [];
  const showRecord = (place) => {
    const box = make("article", "", holder);
    box.className = "record";
    const record = records[place];
    if (!record) {
      make("h3", String(place).replace(/^\?/, ""), box);
      make("p", "Nothing in the store has this digest.", box);
      return;
    }
    make("h3", record.name, box);
    const list = make("dl", "", box);
    for (const [name, value] of record.facts) {
      make("dt", name, list);
      const fact = make("dd", value, list);
      if (name === "digest" || name === "key") fact.className = "hash";
    }
    if (!record.inputs.length) return;
    make("dt", "made from", list);
    const inputs = make("ul", "", make("dd", "", list));
    for (const [role, what, input] of record.inputs) {
      const item = make("li", "", inputs);
      item.append(role + ": ");
      if (input === null) { item.append(what); continue; }
      const link = make("button", what, item);
      link.type = "button";
      link.addEventListener("click", () => walk({ title: `${role} of ${record.name}`, note: "", places: [input] }));
    }
  };
  const show = () => {
    const step = trail[trail.length - 1];
    byId("provenance-title").textContent = step.title;
    byId("provenance-note").textContent = step.note;
    holder.replaceChildren();
    if (trail.length > 1) {
      const back = make("button", "Back", holder);
      back.type = "button";
      back.addEventListener("click", () => { trail.pop(); show(); byId("provenance-close").focus(); });
    }
    step.places.forEach(showRecord);
    dialog.scrollTop = 0;
  };
  const walk = (step) => { trail.push(step); show(); byId("provenance-close").focus(); };
  const open = (from) => {
    hideTip();
    const places = (from.dataset.from || "").split(" ").filter(Boolean);
    trail = [{ title: from.dataset.title || "", note: from.dataset.note || "", places }];
    show();
    dialog.showModal();
    // Browsers give the focus back to what had it, which a clicked button has not in all of them.
    dialog.addEventListener("close", () => { if (document.activeElement === document.body) from.focus(); }, { once: true });
  };
  byId("provenance-close").addEventListener("click", () => dialog.close());
  // What is clicked beside the dialog is its backdrop, which belongs to it, as its padding does.
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (event.target === dialog && !inside) dialog.close();
  });
  document.addEventListener("click", (event) => {
    const from = event.target.closest("[data-from]");
    if (from) open(from);
  });
  document.addEventListener("keydown", (event) => {
    const from = event.target.closest("svg [data-from]");
    if (from && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      open(from);
    }
  });

  // Arrow keys: a table or figure takes one place in the order of Tab, and is walked through from there.
  const step = (walked, from, key) => {
    const items = [...walked.querySelectorAll("button, [tabindex]")];
    if (walked.dataset.walk === "line") {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
      return key === "Home" ? items[0] : key === "End" ? items[items.length - 1] : items[items.indexOf(from) + by];
    }
    const row = [...from.closest("tr").querySelectorAll("button")];
    switch (key) {
      case "ArrowRight": return row[row.indexOf(from) + 1];
      case "ArrowLeft": return row[row.indexOf(from) - 1];
      case "Home": return row[0];
      case "End": return row[row.length - 1];
      default: {
        // The nearest number above or below; some places have none.
        const column = from.closest("td").cellIndex;
        const rows = [...walked.rows];
        const beyond = key === "ArrowDown" ? rows.slice(rows.indexOf(from.closest("tr")) + 1)
          : rows.slice(0, rows.indexOf(from.closest("tr"))).reverse();
        return beyond.map((row) => row.cells[column] && row.cells[column].querySelector("button")).find((button) => button);
      }
    }
  };
  for (const walked of document.querySelectorAll("[data-walk]")) {
    const items = [...walked.querySelectorAll("button, [tabindex]")];
    items.forEach((item, at) => item.setAttribute("tabindex", at ? "-1" : "0"));
    walked.addEventListener("keydown", (event) => {
      if (!/^(Arrow(Up|Down|Left|Right)|Home|End)$/.test(event.key) || !items.includes(event.target)) return;
      const next = step(walked, event.target, event.key);
      event.preventDefault();
      if (!next) return;
      items.forEach((item) => item.setAttribute("tabindex", item === next ? "0" : "-1"));
      next.focus();
    });
  }

  // Names of points and lines. That of what has the focus stays with it while the page scrolls.
  const tip = byId("tip");
  const hideTip = () => { tip.hidden = true; };
  const placeTip = (middle, top) => {
    const left = Math.max(4, Math.min(middle - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 4));
    tip.style.left = left + "px";
    tip.style.top = Math.max(4, top - tip.offsetHeight - 12) + "px";
  };
  const showTip = (named) => {
    tip.textContent = named.dataset.tip;
    tip.hidden = false;
  };
  const tipOfFocus = () => {
    const named = document.activeElement && document.activeElement.closest("[data-tip]");
    if (!named) return hideTip();
    showTip(named);
    const box = named.getBoundingClientRect();
    placeTip(box.left + box.width / 2, box.top);
  };
  // Moves only: when the page scrolls below a pointer at rest, browsers say that it is over something else.
  document.addEventListener("pointermove", (event) => {
    const named = event.target.closest("[data-tip]");
    if (!named) return tipOfFocus();
    showTip(named);
    placeTip(event.clientX, event.clientY);
  });
  document.addEventListener("focusin", tipOfFocus);
  document.addEventListener("focusout", hideTip);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  document.addEventListener("scroll", tipOfFocus, { capture: true, passive: true });

  // Where the reader is.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? seen.add(entry.target.id) : seen.delete(entry.target.id);
    const first = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) id === first ? link.setAttribute("aria-current", "location") : link.removeAttribute("aria-current");
  }, { rootMargin: "0px 0px -60% 0px" });
  for (const id of links.keys()) if (byId(id)) watch.observe(byId(id));
})();
