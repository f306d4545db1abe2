//! A made-up organisation: its people, sites, apps, teams and addresses. Names and addresses are those that are reserved
//! for examples.

use std::net::{Ipv4Addr, Ipv6Addr};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::{Uuid, uuid};

/// Who and what there is.
pub(super) struct Organisation {
    pub(super) id: Uuid,
    pub(super) users: Vec<User>,
    pub(super) sites: Vec<Site>,
    pub(super) apps: Vec<(&'static str, Uuid)>,
    pub(super) teams: Vec<(String, String)>,
}

pub(super) struct User {
    pub(super) name: String,
    pub(super) upn: String,
    pub(super) object_id: Uuid,
    /// The legacy key of a mailbox user, 16 hexadecimal digits.
    pub(super) puid: String,
    pub(super) mailbox: Uuid,
    pub(super) sid: String,
    pub(super) home: Address,
    pub(super) device: Uuid,
    /// Which of the [`SITES`] is theirs.
    team: usize,
}

/// Where a user works from.
pub(super) struct Address {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

pub(super) struct Site {
    pub(super) id: Uuid,
    pub(super) web: Uuid,
    pub(super) list: Uuid,
    pub(super) url: String,
    pub(super) personal: bool,
}

pub(super) const DOMAIN: &str = "contoso.onmicrosoft.com";
const FIRST: [&str; 24] = [
    "Adele",
    "Alex",
    "Allan",
    "Amber",
    "Christie",
    "Debra",
    "Diego",
    "Emily",
    "Grady",
    "Henrietta",
    "Irvin",
    "Isaiah",
    "Johanna",
    "Joni",
    "Lee",
    "Lidia",
    "Lynne",
    "Megan",
    "Miriam",
    "Nestor",
    "Patti",
    "Pradeep",
    "Zoë",
    "Łukasz",
];
const LAST: [&str; 20] = [
    "Vance",
    "Wilber",
    "Deyoung",
    "Rodriguez",
    "Cline",
    "Berger",
    "Siciliani",
    "Braun",
    "Archie",
    "Mueller",
    "Sayers",
    "Langer",
    "Lorenz",
    "Sherman",
    "Gu",
    "Holloway",
    "Robbins",
    "Bowen",
    "Graham",
    "Gupta",
];
const SITES: [&str; 10] =
    ["Finance", "Sales", "HumanResources", "Legal", "Marketing", "Engineering", "ProjectFalcon", "Board", "Support", "Facilities"];
/// Microsoft's own have the ids that they have everywhere; the organisation's own has one of its own.
/// <https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in>
const APPS: [(&str, Option<Uuid>); 8] = [
    ("Microsoft Teams", Some(uuid!("1fec8e78-bce4-4aaf-ab1b-5451cc387264"))),
    ("Office 365 Exchange Online", Some(uuid!("00000002-0000-0ff1-ce00-000000000000"))),
    ("Office 365 SharePoint Online", Some(uuid!("00000003-0000-0ff1-ce00-000000000000"))),
    ("Microsoft Office", Some(uuid!("d3590ed6-52b3-4102-aeff-aad2292ab01c"))),
    ("Azure Portal", Some(uuid!("c44b4083-3bb0-49c1-b47d-974e53cbdf3c"))),
    ("Microsoft Graph", Some(uuid!("00000003-0000-0000-c000-000000000000"))),
    ("Contoso Expenses", None),
    ("Power BI Service", Some(uuid!("00000009-0000-0000-c000-000000000000"))),
];
/// What people read their mail with.
pub(super) const OUTLOOK: Uuid = uuid!("5d661950-3475-41cd-a2c3-d671a3162bc1");
pub(super) const FILES: [&str; 8] = [
    "Budget 2026.xlsx",
    "Accounts Overview.docx",
    "Roadmap.pptx",
    "Contract – draft.docx",
    "Payroll.csv",
    "Minutes.md",
    "Köln Büro.pdf",
    "Customers & Leads.xlsx",
];
pub(super) const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.18129; Pro)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
];

pub(super) fn guid(rng: &mut ChaCha8Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// One of some; all lists here have entries.
pub(super) fn one<'a, T>(of: &'a [T], rng: &mut ChaCha8Rng) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

impl Organisation {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let users: Vec<User> = (0..120).map(|i| User::new(i, rng)).collect();
        let mut sites: Vec<Site> =
            SITES.iter().map(|name| Site::new(format!("https://contoso.sharepoint.com/sites/{name}"), false, rng)).collect();
        let personal = users.iter().step_by(3).map(|user| {
            let owner = user.upn.replace(['@', '.'], "_");
            (format!("https://contoso-my.sharepoint.com/personal/{owner}"), true)
        });
        sites.extend(personal.map(|(url, personal)| Site::new(url, personal, rng)));
        Self {
            id: guid(rng),
            apps: APPS.map(|(name, known)| (name, known, guid(rng))).map(|(name, known, own)| (name, known.unwrap_or(own))).to_vec(),
            teams: SITES.map(|name| (name.to_owned(), format!("19:{}@thread.tacv2", guid(rng).simple()))).to_vec(),
            users,
            sites,
        }
    }

    /// Mostly one of the user's own sites: their team's, the next team's, their personal one.
    pub(super) fn site_of(&self, user: &User, rng: &mut ChaCha8Rng) -> &Site {
        let drawn = rng.random_range(0..self.sites.len());
        let own = user.upn.replace(['@', '.'], "_");
        let place = match drawn % 10 {
            0 => drawn,
            1 | 2 => (user.team + 1) % SITES.len(),
            3 | 4 => self.sites.iter().position(|site| site.url.ends_with(&own)).unwrap_or(user.team),
            _ => user.team,
        };
        &self.sites[place]
    }

    /// One of the three that the user's team works with.
    pub(super) fn app_of(&self, user: &User, rng: &mut ChaCha8Rng) -> &(&'static str, Uuid) {
        let drawn = rng.random_range(0..self.apps.len());
        &self.apps[(user.team + drawn % 3) % self.apps.len()]
    }

    /// Mostly the user's own.
    pub(super) fn team_of(&self, user: &User, rng: &mut ChaCha8Rng) -> &(String, String) {
        let drawn = rng.random_range(0..self.teams.len());
        &self.teams[if drawn < 8 { user.team } else { drawn }]
    }

    /// Mostly somebody of the user's own team.
    pub(super) fn colleague_of(&self, user: &User, rng: &mut ChaCha8Rng) -> &User {
        let drawn = rng.random_range(0..self.users.len());
        let is_own = drawn % 8 > 0;
        &self.users[if is_own { drawn / SITES.len() * SITES.len() + user.team } else { drawn }]
    }

    /// Who looks after the user's account.
    pub(super) fn administrator_of(&self, user: &User) -> &User {
        &self.users[user.team % 3]
    }
}

impl User {
    fn new(i: usize, rng: &mut ChaCha8Rng) -> Self {
        // 120 is the least common multiple of the lists' lengths, so no pair of names comes twice.
        let (first, last) = (FIRST[i % FIRST.len()], LAST[i % LAST.len()]);
        let ascii = |name: &str| name.replace('ë', "e").replace('Ł', "L").to_lowercase();
        Self {
            name: format!("{first} {last}"),
            upn: format!("{}.{}@{DOMAIN}", ascii(first), ascii(last)),
            object_id: guid(rng),
            puid: format!("1003200{:09X}", rng.random_range(0..0x10_0000_0000_u64 >> 4)),
            mailbox: guid(rng),
            sid: format!("S-1-5-21-1376570662-3565232716-1187618197-{}", rng.random_range(1_000_000..40_000_000)),
            home: Address {
                v4: match rng.random_range(0..3) {
                    0 => Ipv4Addr::new(192, 0, 2, rng.random()),
                    1 => Ipv4Addr::new(198, 51, 100, rng.random()),
                    _ => Ipv4Addr::new(203, 0, 113, rng.random()),
                },
                v6: Ipv6Addr::new(0x2001, 0xdb8, rng.random(), rng.random(), 0, 0, 0, rng.random()),
            },
            device: guid(rng),
            team: i % SITES.len(),
        }
    }

    /// The user's address in one of the many forms of ClientIP.
    pub(super) fn address(&self, rng: &mut ChaCha8Rng) -> Option<String> {
        let Address { v4, v6 } = self.home;
        let port = rng.random_range(1024..65535);
        Some(match rng.random_range(0..100) {
            0..60 => v4.to_string(),
            60..68 => format!("{v4}:{port}"),
            68..72 => format!("[{v4}]:{port}"),
            72..82 => v6.to_string(),
            82..86 => format!("[{v6}]"),
            86..92 => format!("[{v6}]:{port}"),
            92..95 => format!("::ffff:{v4}"),
            95 => "localhost".to_owned(),
            96 => format!("mail.example.com:{port}"),
            _ => return None,
        })
    }
}

impl Site {
    fn new(url: String, personal: bool, rng: &mut ChaCha8Rng) -> Self {
        Self { id: guid(rng), web: guid(rng), list: guid(rng), url, personal }
    }
}
