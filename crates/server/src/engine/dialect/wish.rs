//! How does a viewer tell the server its wish for the video?
//!
//! In JSON, by HTTP or on its data channel, in the words of several drafts of WHEP.

use control::engine::Wish;
use serde::{Deserialize, Serialize};
use sfu::stream::choice;
use utoipa::ToSchema;

use crate::json::{self, Form};

/// What a viewer wishes of the video. An empty object leaves the choice to the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LayerWish {
    /// The `mid` of the video. There is one video, so it changes nothing; drafts of WHEP name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_id: Option<String>,
    /// The `rid` of the layer to send, whatever the network carries. Later drafts of WHEP call the
    /// field `rid`.
    #[serde(alias = "rid")]
    pub encoding_id: Option<String>,
    /// The most lines of the picture. Smaller ones are sent where the network asks for it.
    pub max_height: Option<u16>,
    /// The most columns of the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_width: Option<u16>,
    /// The most pictures a second, where the publisher sends temporal layers to choose from, or where
    /// all viewers wish so few.
    pub max_frame_rate: Option<u16>,
    /// The highest spatial layer to send of an encoding that has some (SVC); `maxSpatialLayerId`
    /// means the same.
    #[serde(alias = "maxSpatialLayerId", skip_serializing_if = "Option::is_none")]
    pub spatial_layer_id: Option<u8>,
    /// The highest temporal layer to send of an encoding that has some; `maxTemporalLayerId` means
    /// the same.
    #[serde(alias = "maxTemporalLayerId", skip_serializing_if = "Option::is_none")]
    pub temporal_layer_id: Option<u8>,
    /// No video for now, because the viewer does not look at it. Audio goes on.
    pub paused: bool,
}

impl LayerWish {
    /// All fields by their names in JSON, and what each holds.
    const FIELDS: [(&str, Form); 11] = [
        ("mediaId", Form::Text),
        ("encodingId", Form::Text),
        ("rid", Form::Text),
        ("maxHeight", Form::UpTo(65_535)),
        ("maxWidth", Form::UpTo(65_535)),
        ("maxFrameRate", Form::UpTo(65_535)),
        ("spatialLayerId", Form::UpTo(255)),
        ("maxSpatialLayerId", Form::UpTo(255)),
        ("temporalLayerId", Form::UpTo(255)),
        ("maxTemporalLayerId", Form::UpTo(255)),
        ("paused", Form::Switch),
    ];

    /// Reads a wish from JSON.
    ///
    /// # Errors
    ///
    /// The fault that keeps it from being read, in words for the sender of the wish.
    pub fn read(text: &str) -> Result<LayerWish, String> {
        let unread = |fault: String| format!("the wish cannot be read: {fault}");
        let object = json::object(text).map_err(unread)?;
        for (name, form) in Self::FIELDS {
            let Some(value) = object.get(name) else { continue };
            form.check(value).map_err(|expected| unread(format!("{name} is not {expected}")))?;
        }
        // Each field fits, so only two names of one field are left to go wrong.
        serde_json::from_value(object.into())
            .map_err(|_| unread("two of its fields mean the same (such as encodingId and rid); send one".to_owned()))
    }

    /// Translates the preferences that a shard keeps; `rid` is the name of their encoding.
    pub(super) fn of(preferences: &choice::Preferences, rid: Option<String>) -> LayerWish {
        LayerWish {
            media_id: None,
            encoding_id: rid,
            max_height: preferences.max_height,
            max_width: preferences.max_width,
            max_frame_rate: preferences.max_frame_rate,
            spatial_layer_id: preferences.max_spatial,
            temporal_layer_id: preferences.max_temporal,
            paused: preferences.is_hidden,
        }
    }
}

impl From<LayerWish> for Wish {
    fn from(wish: LayerWish) -> Wish {
        Wish {
            rid: wish.encoding_id,
            max_height: wish.max_height,
            max_width: wish.max_width,
            max_frame_rate: wish.max_frame_rate,
            max_spatial: wish.spatial_layer_id,
            max_temporal: wish.temporal_layer_id,
            is_hidden: wish.paused,
        }
    }
}

/// The answer to a wish that came on a data channel: the wish as it was understood, or why it was
/// refused.
pub(crate) fn channel_answer(wish: Result<&LayerWish, &str>) -> String {
    let answer = match wish {
        Ok(wish) => serde_json::json!({ "wish": wish }),
        Err(error) => serde_json::json!({ "error": error }),
    };
    answer.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_in_the_words_of_every_draft_and_translated() {
        let text = r#"{"mediaId":"1","rid":"h","maxHeight":360,"maxWidth":640,"maxFrameRate":15,
            "maxSpatialLayerId":1,"temporalLayerId":2,"paused":true}"#;
        let wish = LayerWish::read(text).expect("a wish");
        let expected = Wish {
            rid: Some("h".to_owned()),
            max_height: Some(360),
            max_width: Some(640),
            max_frame_rate: Some(15),
            max_spatial: Some(1),
            max_temporal: Some(2),
            is_hidden: true,
        };
        assert_eq!(Wish::from(wish), expected);
        assert_eq!(LayerWish::read("{}").map(Wish::from), Ok(Wish::default()));
    }

    #[test]
    fn an_invalid_wish_is_answered_with_an_error_on_the_data_channel() {
        for text in ["", "[]", "7", "{\"maxHeight\":-1}", "{\"paused\":"] {
            let error = LayerWish::read(text).expect_err("no wish");
            assert!(channel_answer(Err(&error)).starts_with("{\"error\":\"the wish cannot be read"));
        }
        let wish = LayerWish { max_height: Some(180), ..LayerWish::default() };
        let answer = channel_answer(Ok(&wish));
        assert!(answer.contains("\"maxHeight\":180") && answer.starts_with("{\"wish\":{"), "{answer}");
    }
}
