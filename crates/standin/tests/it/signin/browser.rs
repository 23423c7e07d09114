//! A browser, as far as our pages need one: it follows redirects, reads the first form of a page, and submits it.

use crate::client::{Client, read, request};
use polydev_standin::Standin;
use std::collections::BTreeMap;
use url::{Url, form_urlencoded};

/// More redirects in a row lead nowhere.
const REDIRECTS_MAX: usize = 5;

pub(crate) struct Browser(Client);

/// What a browser shows.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) address: Url,
    pub(crate) status: u16,
    pub(crate) html: String,
    /// The addresses gone through before, with their statuses.
    pub(crate) way: Vec<(u16, Url)>,
}

impl Browser {
    pub(crate) fn of(standin: &Standin) -> Self {
        Self(Client::of(standin))
    }

    /// Opens an address.
    pub(crate) async fn open(&self, address: &str) -> Page {
        self.send("GET", Url::parse(address).unwrap(), String::new()).await
    }

    /// Presses the button with this text, the form's other fields as they are, or as said here.
    pub(crate) async fn press(&self, page: &Page, button: &str, said: &[(&str, &str)]) -> Page {
        let form = page.form_with(button);
        let mut fields = fields(form);
        let (name, value) = button_of(form, button);
        fields.extend(name.map(|name| (name, value)));
        fields.extend(said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let fields = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut address = page.address.clone();
        if form.contains("method=\"get\"") {
            address.set_query(Some(&fields));
            return self.send("GET", address, String::new()).await;
        }
        self.send("POST", address, fields).await
    }

    /// Follows the link with this text.
    pub(crate) async fn follow(&self, page: &Page, link: &str) -> Page {
        let (before, _) = page.html.split_once(&format!(">{link}</a>")).unwrap_or_else(|| panic!("no link {link}"));
        let to = attribute(before.rsplit_once("<a ").unwrap().1, "href").unwrap();
        self.open(page.address.join(&to).unwrap().as_str()).await
    }

    async fn send(&self, method: &str, address: Url, body: String) -> Page {
        let (mut method, mut address, mut body) = (method, address, body);
        let mut way = Vec::new();
        loop {
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let sent = request(method, address.as_str(), &headers, std::mem::take(&mut body));
            let response = self.0.open(sent).await;
            let to = response.headers().get("location").map(|to| address.join(to.to_str().unwrap()).unwrap());
            let answered = read(response).await;
            let Some(to) = to else {
                return Page { address, status: answered.status, html: answered.text, way };
            };
            way.push((answered.status, std::mem::replace(&mut address, to)));
            method = "GET";
            assert!(way.len() <= REDIRECTS_MAX, "round and round: {way:?}");
        }
    }
}

impl Page {
    /// What it is about.
    pub(crate) fn heading(&self) -> &str {
        self.inside("<h1>", "</h1>")
    }

    /// What is there to be copied.
    pub(crate) fn code(&self) -> String {
        let (_, after) = self.html.split_once("<textarea").unwrap_or_else(|| panic!("no code: {self:?}"));
        unescape(after.split_once('>').unwrap().1.split_once("</textarea>").unwrap().0)
    }

    fn inside(&self, open: &str, close: &str) -> &str {
        let found = self.html.split_once(open).and_then(|(_, after)| after.split_once(close));
        found.unwrap_or_else(|| panic!("no {open} in {self:?}")).0
    }

    /// The form that has this button.
    fn form_with(&self, button: &str) -> &str {
        let mut forms = self.html.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap());
        forms
            .find(|form| form.contains(&format!(">{button}</button>")))
            .unwrap_or_else(|| panic!("no {button}: {self:?}"))
    }
}

fn fields(form: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for input in form.split("<input").skip(1) {
        let tag = input.split('>').next().unwrap();
        fields.extend(attribute(tag, "name").map(|name| (name, attribute(tag, "value").unwrap_or_default())));
    }
    for select in form.split("<select").skip(1) {
        let (tag, options) = select.split_once('>').unwrap();
        let options = options.split("</select>").next().unwrap();
        let chosen = options.split("<option").skip(1).map(|option| option.split('>').next().unwrap());
        let chosen = chosen.clone().find(|option| option.ends_with(" selected")).or(chosen.clone().next());
        let value = chosen.and_then(|option| attribute(option, "value")).unwrap_or_default();
        fields.extend(attribute(tag, "name").map(|name| (name, value)));
    }
    fields
}

fn button_of(form: &str, text: &str) -> (Option<String>, String) {
    let before = form.split_once(&format!(">{text}</button>")).unwrap().0;
    let tag = before.rsplit_once("<button").unwrap().1;
    (attribute(tag, "name"), attribute(tag, "value").unwrap_or_default())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, after) = tag.split_once(&format!("{name}=\""))?;
    Some(unescape(after.split_once('"')?.0))
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}
