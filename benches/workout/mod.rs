//! The document that benches push and read.

/// A workout of about this many bytes of JSON, at least of one set. No two numbers give the same.
pub fn workout(number: usize, bytes: usize) -> String {
    let mut text = format!("{{\"title\":\"Push day\",\"number\":{number},\"sets\":[");
    let mut set = 0;
    while set == 0 || text.len() < bytes {
        let comma = if set == 0 { "" } else { "," };
        let (reps, weight) = (5 + set % 8, 40 + set % 60);
        text.push_str(&format!(
            "{comma}{{\"id\":{set},\"exercise\":\"Bench Press (Barbell)\",\"reps\":{reps},\
             \"weight\":{weight}.25,\"done\":true,\"note\":\"l\\u00e9ger \u{2713}\"}}"
        ));
        set += 1;
    }
    text.push_str("]}");
    text
}
